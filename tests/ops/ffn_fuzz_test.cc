// SPDX-License-Identifier: Apache-2.0
// Random calls of ffn, many of them wrong in some way: refused with a message, or right, and never
// a byte written beside y.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "ffn_case.h"
#include "ops/ffn/contract.h"

namespace weft::testing {
namespace {

class Fuzz {
 public:
  explicit Fuzz(unsigned seed) : rng_(seed) {}

  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(rng_() % static_cast<std::uint64_t>(n));
  }
  bool one_in(int n) { return below(n) == 0; }
  unsigned seed() { return static_cast<unsigned>(rng_()); }

  std::int64_t extent() { return one_in(25) ? 0 : one_in(3) ? 1 + below(70) : 1 + below(8); }
  /// Counts or ends, mostly of m rows in all or less.
  Dims tokens(std::int64_t m, bool ends) {
    Dims tokens(static_cast<std::size_t>(below(7)));
    std::int64_t end = 0;
    for (std::int64_t& value : tokens) {
      const std::int64_t count = one_in(3) ? 0 : below(m - end + 1);
      end += count;
      value = ends ? end : count;
      if (one_in(60)) value = below(3) - 2 + (one_in(2) ? m : 0);
    }
    return tokens;
  }
  FfnCase random_case() {
    FfnCase c{.row = kFfnRows[below(std::ssize(kFfnRows))],
              .m = extent(),
              .k1 = extent(),
              .k2 = extent(),
              .n2 = extent()};
    if (c.row.weight == DType::kInt4 && !one_in(8))
      c.k1 += c.k1 % 2, c.k2 += c.k2 % 2, c.n2 += c.n2 % 2;
    c.activation = static_cast<Activation>(below(7));
    c.inner_precise = static_cast<InnerPrecise>(below(2));
    c.gate_is_left = one_in(2);
    c.tokens_are_ends = one_in(2);
    if (one_in(2)) c.tokens = tokens(c.m, c.tokens_are_ends);
    if (one_in(3)) c.leading = {1, c.m, 1};
    c.bias1 = one_in(2), c.bias2 = one_in(2), c.float_bias = one_in(2);
    c.scale_per_channel = one_in(2);
    c.groups1 = groups(c.k1), c.groups2 = groups(c.k2);
    c.antiquant_offsets = one_in(2);
    c.x = static_cast<RowLayout>(below(4)), c.y = static_cast<RowLayout>(below(4));
    c.weight1 = kWeightLayouts[below(c.row.weight == DType::kInt4 ? 5 : 6)];
    c.weight2 = kWeightLayouts[below(c.row.weight == DType::kInt4 ? 5 : 6)];
    c.vectors_strided = one_in(3);
    c.seed = seed();
    return c;
  }

  /// The stride of an axis of one element says nothing and may be any number.
  template <typename Pointer>
  void change_idle_strides(BasicTensorRef<Pointer>& t) {
    if (!t.given()) return;
    constexpr std::int64_t kOdd[] = {0, 1, 2, 7, -3, std::int64_t{1} << 40};
    Dims strides(t.strides().begin(), t.strides().end());
    for (int axis = 0; axis < t.rank(); ++axis)
      if (t.dim(axis) == 1 && one_in(2)) strides[static_cast<std::size_t>(axis)] = kOdd[below(6)];
    t = BasicTensorRef<Pointer>(t.data(), t.dtype(), t.dims(), strides);
  }
  void change_idle_strides(FfnArgs& a) {
    for (ConstTensorRef* t : inputs(a)) change_idle_strides(*t);
    change_idle_strides(a.y);
  }

  /// Another operand of the call, another extent, stride or dtype: of mostly one of them.
  void damage(FfnArgs& a) {
    const auto operands = inputs(a);
    ConstTensorRef& t = *operands[static_cast<std::size_t>(below(std::ssize(operands)))];
    const ConstTensorRef& other = *operands[static_cast<std::size_t>(below(std::ssize(operands)))];
    const std::int64_t kind = below(6);
    if (kind == 0) {
      t = {};
    } else if (kind == 1 || !t.given() || t.rank() == 0) {
      t = other;
    } else if (kind == 2) {
      t = ConstTensorRef(t.data(), static_cast<DType>(below(14)), t.dims(), t.strides());
    } else {
      Dims dims(t.dims().begin(), t.dims().end()), strides(t.strides().begin(), t.strides().end());
      const auto axis = static_cast<std::size_t>(below(std::ssize(dims)));
      constexpr std::int64_t kOdd[] = {-1, 0, 1, 2, 3, 65536, INT32_MAX, INT64_MAX, INT64_MIN};
      if (kind == 3) dims[axis] = one_in(2) ? dims[axis] - 1 : kOdd[below(6)];
      if (kind == 4) strides[axis] = kOdd[below(9)];
      if (kind == 5) dims.insert(dims.begin(), 1), strides.insert(strides.begin(), kOdd[below(9)]);
      if (dims.size() <= kMaxDims) t = ConstTensorRef(t.data(), t.dtype(), dims, strides);
    }
  }

 private:
  static std::vector<ConstTensorRef*> inputs(FfnArgs& a) {
    return {&a.x,
            &a.weight1,
            &a.weight2,
            &a.expert_tokens,
            &a.bias1,
            &a.bias2,
            &a.scale,
            &a.offset,
            &a.deq_scale1,
            &a.deq_scale2,
            &a.antiquant_scale1,
            &a.antiquant_scale2,
            &a.antiquant_offset1,
            &a.antiquant_offset2};
  }
  std::int64_t groups(std::int64_t k) {
    const std::int64_t kind = below(4);
    if (kind < 2) return kind == 0 ? kOneScale : kPerColumn;
    if (one_in(10)) return 1 + below(5);
    std::int64_t groups = std::max<std::int64_t>(k, 1);
    while (groups > 1 && groups % 2 == 0 && one_in(2)) groups /= 2;
    return kind == 2 ? groups : 1;
  }

  std::mt19937 rng_;
};

TEST(FfnFuzz, RefusedOrRight) {
  const auto seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fuzz fuzz(seed);
  int right = 0, refused = 0;
  for (int i = 0; i < 1500; ++i) {
    const FfnCase c = fuzz.random_case();
    SCOPED_TRACE(c.text());
    const FfnData data(c);
    FfnArgs args = data.args();
    fuzz.change_idle_strides(args);
    const Status status = ffn(context_of(1 + i % 3), args, data.options());
    if (status.ok()) {
      ++right;
      expect_correct(data, 2e4);
      if (HasFatalFailure()) return;
    } else {
      ++refused;
      ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
      ASSERT_EQ(status.message().rfind("ffn: ", 0), 0u) << status.message();
      ASSERT_TRUE(data.y.unchanged());
    }
  }
  EXPECT_GT(right, 700);
  EXPECT_GT(refused, 50);
}

// Shapes alone: whatever the contract takes can be planned.
TEST(FfnFuzz, RefusedOrPlanned) {
  const auto seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fuzz fuzz(seed);
  int planned = 0, refused = 0;
  for (int i = 0; i < 1500; ++i) {
    const FfnData data(fuzz.random_case());
    for (int j = 0; j < 6; ++j) {
      FfnArgs args = data.args();
      for (std::int64_t changes = 1 + fuzz.below(2); changes > 0; --changes) fuzz.damage(args);
      const Status legal = ops::check_plan(args);
      if (!legal.ok()) {
        ++refused;
        ASSERT_EQ(legal.code(), StatusCode::kInvalidArgument);
        ASSERT_EQ(legal.message().rfind("ffn: ", 0), 0u) << legal.message();
        continue;
      }
      ++planned;
      const auto plan = Ffn::plan(context_of(2), args, data.options());
      ASSERT_TRUE(plan.ok() || plan.status().code() == StatusCode::kOutOfMemory)
          << plan.status().to_string();
    }
  }
  EXPECT_GT(planned, 300);
  EXPECT_GT(refused, 3000);
}

}  // namespace
}  // namespace weft::testing
