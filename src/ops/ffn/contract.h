// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of ffn can break.
#pragma once

#include <cstdint>
#include <string_view>

#include "ops/contract.h"
#include "ops/local_matmul/operands.h"
#include "weft/ops/ffn.h"

namespace weft::ops {

inline constexpr std::string_view kFfn = "ffn";

/// The extents of a call. Expects x and both weights to have as many axes as they should.
struct FfnShape {
  std::int64_t m, k1, n1, k2, n2;
  std::int64_t experts;  ///< -1: none, one weight for all rows
  bool has_experts() const { return experts >= 0; }
};
FfnShape shape_of(const FfnArgs& args);
/// From the dtypes of x and of the weights.
Scenario scenario_of(const FfnArgs& args);

/// All tensors by name, given or not.
TensorList tensors_of(const FfnArgs& args);

/// Rules of plan(): shapes, dtypes, attributes.
Status check_plan(const FfnArgs& args);

/// Rules of run(): the same layout as planned, data present, no overlap. Not the values of
/// expert_tokens.
Status check_run(const FfnArgs& planned, const FfnArgs& args);

/// The values of expert_tokens, each a count or, with are_ends, an end: none negative, none beyond
/// m, ends not falling. `experts` values, `stride` elements apart.
Status check_expert_tokens(const std::int64_t* values, std::int64_t experts, std::int64_t stride,
                           bool are_ends, std::int64_t m);

}  // namespace weft::ops
