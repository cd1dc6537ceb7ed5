// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/placement.h"

namespace weft {
namespace ops {
namespace {

// The last part of `parts` that begins at or before `i` when `total` is cut evenly: part p begins
// at p · total / parts, rounded down.
std::int64_t part_of(std::int64_t i, std::int64_t total, std::int64_t parts) {
  return ((i + 1) * parts - 1) / total;
}

}  // namespace

int Placement::rank_of_place(std::int64_t place) const {
  if (place < shared_ranks()) return static_cast<int>(place);
  const std::int64_t expert = place - shared_ranks();
  return static_cast<int>(shared_ranks() + part_of(expert, experts_.moe_expert_num, moe_ranks()));
}

std::int64_t Placement::shared_place(std::int64_t j, int source, std::int64_t token,
                                     std::int64_t tokens) const {
  if (experts_.shared_tokens == SharedTokens::kBySource)
    return source % replicas() + j * replicas();
  const std::int64_t ranks = shared_ranks();
  if (source < ranks) return source;
  // Slices as if the tokens of all ranks lay one after the other, so that the rests are spread.
  const std::int64_t before = source * tokens / ranks;
  return part_of(before + token, tokens, ranks) - source;
}

}  // namespace ops

std::int64_t local_expert_num(const MoeExperts& experts, int rank, int ranks) {
  return ops::Placement(experts, ranks).local_places(rank);
}

}  // namespace weft
