// SPDX-License-Identifier: Apache-2.0
// MoeExperts: which experts a mixture has and on which ranks of a group they live.
#pragma once

#include <cstdint>

#include "weft/export.h"

namespace weft {

/// Which of the ranks that hold a shared expert gets a token.
enum class SharedTokens : std::uint8_t {
  /// Shared expert j has R = shared_expert_rank_num / shared_expert_num ranks, j·R and the R - 1
  /// after it; all tokens of rank s go to the (s mod R)-th of them.
  kBySource,
  /// One shared expert: its ranks keep their own tokens, and every other rank deals out its Bs
  /// tokens to them in slices of about Bs / R (first versions of CANN's operators).
  kBySlice,
};

/// The same on every rank of the group, and for a dispatch and its combine. Names are those of
/// CANN's attributes. Expert ids: routed experts first, then zero, copy and const experts.
struct MoeExperts {
  /// E, at least 1. They live on the ranks that hold no shared expert, in order: with P such ranks
  /// the i-th of them has experts i·E / P up to (i + 1)·E / P (rounded down), so E / P each if that
  /// is a whole number.
  std::int64_t moe_expert_num = 0;
  /// Experts that get every token. Each lives on shared_expert_rank_num / shared_expert_num ranks
  /// (a whole number); both 0 if there are none.
  std::int64_t shared_expert_num = 0;
  std::int64_t shared_expert_rank_num = 0;  ///< the first ranks of the group
  SharedTokens shared_tokens = SharedTokens::kBySource;
  /// Experts that live nowhere: nothing is sent, the combine knows what they return: nothing; the
  /// token itself; alpha_1 · token + alpha_2 · v.
  std::int64_t zero_expert_num = 0, copy_expert_num = 0, const_expert_num = 0;

  bool operator==(const MoeExperts&) const = default;
};

/// Experts whose rows this rank gets: of the routed ones, or 1 on a rank that holds a shared one.
WEFT_API std::int64_t local_expert_num(const MoeExperts& experts, int rank, int ranks);

}  // namespace weft
