// SPDX-License-Identifier: Apache-2.0
// The rules of the contracts, and the status code CANN gives a call that breaks one.
#pragma once

#include <cstdint>
#include <string_view>

namespace weft::ops {

enum class Rule : std::uint16_t {
#define WEFT_RULE(rule, ...) rule,
#include "ops/rules.inc"
// One numbering for all that Status::rule() can be.
#include "ops/collectives/rules.inc"
#undef WEFT_RULE
};

/// The entry points of CANN that share a column of the table.
enum class CannEntry {
  kMatmulAllReduce,
  kQuantMatmulAllReduce,
  kWeightQuantMatmulAllReduce,
  kMatmulAllReduceAddRmsNorm,  ///< plain, Quant, WeightQuant and their Inplace forms
  kMatmulReduceScatter,
  kFfn,   ///< aclnnFFN, V2, V3
  kMoe,   ///< aclnnMoe…
  kHccl,  ///< HCCL's functions, in a table of their own
};

/// Status::rule() as CANN's status code; 0 if CANN has no such rule.
int cann_code(Rule rule, CannEntry entry);
/// CANN finds these in its tiling: a call that breaks one of them and another rule is told of the
/// other.
constexpr bool comes_last(Rule rule) {
  switch (rule) {
    case Rule::kScaleRow:
    case Rule::kEmptyDepth:
    case Rule::kEmpty:
    case Rule::kGroupOfOne:
    case Rule::kLimit:
      return true;
    default:
      return false;
  }
}
/// "kDtype".
std::string_view to_string(Rule rule);

}  // namespace weft::ops
