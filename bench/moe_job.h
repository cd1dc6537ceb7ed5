// SPDX-License-Identifier: Apache-2.0
// The tokens of a team on their way to the experts and back, beside plain copies of as many bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "team.h"
#include "weft/dtype.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::bench {

/// bench/peers/torch_moe.py has the same ones.
struct MoeProblem {
  const char* type = "bfloat16";  ///< of the rows at the experts; tokens are bfloat16
  int ranks = 2;
  std::int64_t tokens = 1;  ///< of each rank
  std::int64_t hidden = 7168, top_k = 8, experts = 64;

  /// "section/what/type/shape"; the shape begins with the number of ranks.
  std::string name(const std::string& section, const std::string& what) const;
  DType row_type() const;
};

/// Every token has random distinct experts, others on every rank.
class MoeJob {
 public:
  struct Options {
    /// moe_combine_add_rmsnorm of the rows as dispatch leaves them, too; with bfloat16 rows only.
    bool combine = false;
  };
  MoeJob(Team& team, const MoeProblem& problem, Options options);

  double dispatch();
  double combine();
  /// Both, again and again at once, as the layers of a decode step follow each other: seconds of
  /// one pair.
  double pair_steps(int count);
  /// Every rank copies what the operator of this job (combine, if there is one) must move: half of
  /// the bytes are read, half are written.
  double copy();

  /// Its bytes are the most that the operator of this job must read and write on one rank.
  /// Dispatch: a staged copy of each token that leaves is written (its x is small and counts as
  /// cached), each row is read and written. Combine: each row that leaves is read and staged, each
  /// row of the own tokens is read; residual is read, x and y are written.
  Work work() const;

 private:
  struct RankJob {
    std::vector<Buffer> buffers;
    MoeDispatchArgs dispatch_args;
    MoeCombineAddRmsNormArgs combine_args;
    std::unique_ptr<MoeDispatch> dispatch;
    std::unique_ptr<MoeCombineAddRmsNorm> combine;
    std::int64_t bytes = 0;  ///< to be moved
    Buffer from, to;         ///< half as many each
  };
  RankJob& of(int rank) { return ranks_[static_cast<size_t>(rank)]; }
  void prepare(int rank);
  void prepare_combine(int rank);
  void prepare_copy(int rank);
  /// The rank's expert_ids.
  std::vector<std::int32_t> choose_experts(int rank) const;
  std::int64_t leaving_tokens(int rank) const;
  TensorRef make(RankJob& job, DType dtype, std::initializer_list<std::int64_t> dims);
  TensorRef make_random(RankJob& job, std::initializer_list<std::int64_t> dims, unsigned seed);

  Team& team_;
  const MoeProblem problem_;
  const Options options_;
  std::vector<RankJob> ranks_;
};

}  // namespace weft::bench
