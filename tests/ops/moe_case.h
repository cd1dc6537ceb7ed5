// SPDX-License-Identifier: Apache-2.0
// One dispatch of a mixture of experts and its combine, with random operands of all ranks.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "guarded_tensor.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::testing {

using Dims = std::vector<std::int64_t>;

enum class MaskForm { kNone, kTokens, kEntries };
/// What expert_ids say.
enum class Ids {
  kDistinct,   ///< of all experts, special ones included
  kOneExpert,  ///< every token has expert 0; the rest is random
  kAnything,   ///< also ids of no expert, and the same twice
};

struct MoeCase {
  int ranks = 2;
  bool tp = false;  ///< twice as many ranks, in pairs
  DType type = DType::kBFloat16;
  bool int8_rows = false, scales = false;
  Dims tokens = {3};  ///< of rank r the element r % size; with TP those of tp_rank 1 go on
  std::int64_t h = 16, k = 2;
  MoeExperts experts = {.moe_expert_num = 4};
  MaskForm mask = MaskForm::kNone;
  Ids ids = Ids::kDistinct;
  /// Ids and masks of each rank in row-major order, instead of random ones; empty: random.
  std::vector<Dims> given_ids = {}, given_masks = {};
  bool tokens_are_ends = false, shared_expert_x = false, int8_communication = false;
  bool alpha_per_column = false;
  bool three_axes = false;    ///< of tensors of tokens in the combine
  bool in_place = false;      ///< residual_x is x
  bool strided = false;       ///< everything that may be
  std::int64_t slack = 2;     ///< rows of expand_x behind those that are needed
  double special_values = 0;  ///< probability of nan, infinity and numbers near overflow
  unsigned seed = 1;

  int halves() const { return tp ? 2 : 1; }
  std::int64_t tokens_of(int rank, int tp_rank) const;
  std::string text() const;
};

/// Random and legal; `tp` only if the ranks are one per expert.
MoeCase random_case(std::mt19937& rng);

/// Operands and outputs of one rank, guarded. Outputs hold the canary 0xff.
struct MoeRank {
  GuardedTensor x, expert_ids, scales, mask;
  GuardedTensor expand_x, dynamic_scales, assist, token_nums, ep_counts, tp_counts;
  /// What the experts made of the rows: nan behind them.
  GuardedTensor returned;
  GuardedTensor expert_scales, shared_x, ori_x, alpha_1, alpha_2, v;
  GuardedTensor combined;  ///< x of the combine, with in_place also the residual
  GuardedTensor residual, gamma, y, rstd;
};

class MoeData {
 public:
  explicit MoeData(const MoeCase& c);

  MoeRank& at(int rank, int tp_rank = 0) {
    return ranks_[static_cast<std::size_t>(tp_rank * fields.ranks + rank)];
  }
  const MoeRank& at(int rank, int tp_rank = 0) const {
    return const_cast<MoeData*>(this)->at(rank, tp_rank);
  }
  MoeDispatchArgs dispatch(int rank, int tp_rank = 0) const;
  MoeCombineArgs combine(int rank, int tp_rank = 0) const;
  MoeCombineAddRmsNormArgs norm(int rank, int tp_rank = 0) const;

  /// Writes what dispatch writes for the combine, as the reference has it: for ranks whose outputs
  /// are in another process.
  void route_by_reference(int rank, int tp_rank = 0);
  /// Outputs of the combines as before any call.
  void reset_outputs();

  /// Everything a call has to leave is there, and nothing else has changed.
  void expect_dispatched(int rank, int tp_rank = 0) const;
  void expect_combined(int rank, int tp_rank = 0) const;
  void expect_normed(int rank, int tp_rank = 0) const;
  void expect_untouched(int rank, int tp_rank = 0) const;
  MoeDispatchCounts expected_counts(int rank, int tp_rank = 0) const;
  /// Rows of expand_x that are written, those of the pair included.
  std::int64_t rows(int rank, int tp_rank = 0) const;

  const MoeCase fields;

 private:
  void make_tokens(MoeRank& rank, std::int64_t tokens, std::mt19937& rng);
  void make_ids(MoeRank& rank, std::int64_t tokens, std::mt19937& rng);
  void make_rows(int rank, int tp_rank, std::mt19937& rng);
  void make_combined(MoeRank& rank, std::int64_t tokens, std::mt19937& rng);
  std::vector<MoeDispatchArgs> dispatches(int tp_rank) const;
  std::vector<MoeCombineArgs> combines(int tp_rank) const;
  std::vector<MoeCombineAddRmsNormArgs> norms(int tp_rank) const;
  void expect_inactive_untouched(int rank, int tp_rank, const GuardedTensor& output) const;

  std::vector<MoeRank> ranks_;
};

}  // namespace weft::testing
