// SPDX-License-Identifier: Apache-2.0
// Every rule a caller of moe_finalize_routing can break.
#pragma once

#include "ops/contract.h"
#include "weft/ops/moe_finalize_routing.h"

namespace weft::ops {

inline constexpr std::string_view kMoeFinalizeRouting = "moe_finalize_routing";

/// The sizes of a call that keeps the rules.
struct FinalizeShape {
  std::int64_t n, k, h;
  std::int64_t rows;     ///< of expanded_x
  std::int64_t experts;  ///< of bias, 0 without
};
FinalizeShape shape_of(const MoeFinalizeRoutingArgs& args);

/// Rules of plan(): shapes, dtypes, strides.
Status check_plan(const MoeFinalizeRoutingArgs& args);

/// Rules of run(): the same layout as planned, data present, no overlap.
Status check_run(const MoeFinalizeRoutingArgs& planned, const MoeFinalizeRoutingArgs& args);

/// Where expanded_row_idx has the row of token i's j-th expert.
inline std::int64_t place_of(const FinalizeShape& s, ExpandedRowOrder order, std::int64_t i,
                             std::int64_t j) {
  return order == ExpandedRowOrder::kColumnMajor ? j * s.n + i : i * s.k + j;
}

/// Values, in row-major order; `expert_idx` is null without bias.
Status check_indices(const FinalizeShape& shape, ExpandedRowOrder order,
                     const std::int32_t* expanded_row_idx, const std::int32_t* expert_idx);

}  // namespace weft::ops
