// SPDX-License-Identifier: Apache-2.0
// Which rank has which expert: arithmetic on numbers of experts and ranks.
//
// A place is an expert on a rank: one for each shared rank, then one for each routed expert. Places
// are numbered by rank, then by the order of the rank's local experts.
#pragma once

#include <cstdint>

#include "weft/ops/moe_experts.h"

namespace weft::ops {

class Placement {
 public:
  Placement(const MoeExperts& experts, int ranks) : experts_(experts), ranks_(ranks) {}

  int ranks() const { return ranks_; }
  /// Of all ranks.
  std::int64_t places() const { return shared_ranks() + experts_.moe_expert_num; }
  std::int64_t first_place(int rank) const {
    return rank < shared_ranks() ? rank : shared_ranks() + cut(rank - shared_ranks());
  }
  std::int64_t local_places(int rank) const { return first_place(rank + 1) - first_place(rank); }
  /// Of a routed expert.
  std::int64_t place_of(std::int64_t expert) const { return shared_ranks() + expert; }
  int rank_of_place(std::int64_t place) const;
  /// Of shared expert j for a token of `source`, which has `tokens` of them.
  std::int64_t shared_place(std::int64_t j, int source, std::int64_t token,
                            std::int64_t tokens) const;
  /// The row of smooth factors of a place: shared experts come first.
  std::int64_t scale_row(std::int64_t place) const {
    return place < shared_ranks() ? place / replicas()
                                  : experts_.shared_expert_num + place - shared_ranks();
  }
  std::int64_t shared_ranks() const { return experts_.shared_expert_rank_num; }

 private:
  std::int64_t moe_ranks() const { return ranks_ - shared_ranks(); }
  std::int64_t replicas() const { return shared_ranks() / experts_.shared_expert_num; }
  // The first expert of the i-th rank that has some.
  std::int64_t cut(std::int64_t i) const { return i * experts_.moe_expert_num / moe_ranks(); }

  MoeExperts experts_;
  int ranks_;
};

}  // namespace weft::ops
