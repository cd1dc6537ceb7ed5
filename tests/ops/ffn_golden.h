// SPDX-License-Identifier: Apache-2.0
// Calls of ffn whose operands are written out, small enough to compute the results by hand.
#pragma once

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "ffn_case.h"

namespace weft::testing {

using Values = std::vector<double>;

/// One call with neutral operands: relu, no bias2, W2 = 1 if it is square, scales of 1, offsets of
/// 0. float16 and bfloat16 have no bias1; int8 has x = 0, so that bias1 is the sum.
struct FfnGolden {
  FfnGolden(std::string_view row, std::int64_t m, std::int64_t k1, std::int64_t k2, std::int64_t n2,
            Activation activation = Activation::kRelu,
            InnerPrecise inner = InnerPrecise::kHighPrecision, bool gate_is_left = false)
      : data({.row = ffn_row(row),
              .m = m,
              .k1 = k1,
              .k2 = k2,
              .n2 = n2,
              .activation = activation,
              .inner_precise = inner,
              .gate_is_left = gate_is_left,
              .bias1 = ffn_row(row).quant(),
              .bias2 = false,
              .float_bias = true,
              .scale_per_channel = true,
              .antiquant_offsets = true}) {
    if (k2 == n2) data.weight2.set(identity(k2));
    if (ffn_row(row).quant()) {
      data.x.set(Values(static_cast<std::size_t>(m * k1), 0));  // the bias alone is the sum
      data.deq_scale1.set(Values(static_cast<std::size_t>(data.fields.n1()), 1));
      data.deq_scale2.set(Values(static_cast<std::size_t>(n2), 1));
      data.scale.set(Values(static_cast<std::size_t>(k2), 1));
      data.offset.set({0});
    }
  }
  static Values identity(std::int64_t n) {
    Values values(static_cast<std::size_t>(n * n), 0);
    for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i * n + i)] = 1;
    return values;
  }
  /// y; the reference must find it right, too.
  Values run() {
    data.y.reset();
    const Status status = ffn(context_of(1), data.args(), data.options());
    EXPECT_TRUE(status.ok()) << status.to_string();
    expect_correct(data);
    return data.y.values();
  }

  FfnData data;
};

inline constexpr InnerPrecise kSteps = InnerPrecise::kHighPerformance,
                              kFp32 = InnerPrecise::kHighPrecision;

}  // namespace weft::testing
