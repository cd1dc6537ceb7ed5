// SPDX-License-Identifier: Apache-2.0
// What people do around the experts of a mixture without fused operators: sort and copy tokens by
// expert, exchange counts, alltoallv, sort by local expert; all of it backwards, then a weighted
// sum, an add and an RMSNorm. Each step at its best, on the same kernels, windows and threads as
// the fused operators. Only for comparison: tools and benchmarks.
#pragma once

#include <cstdint>
#include <vector>

#include "base/memory.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rows/rows.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/ops/add_rmsnorm.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::bench {

class UnfusedMoe {
 public:
  /// Arguments of the fused operators. Every rank has as many routed experts and tokens as the
  /// others; there are no other experts, no masks, no int8 and no TP; tensors are dense; expand_x
  /// takes any routing. Else kInvalidArgument.
  static Result<UnfusedMoe> plan(Context& context, Group& group, const MoeDispatchArgs& dispatch,
                                 const MoeCombineAddRmsNormArgs& combine);
  /// Collective. Writes expand_x and expert_token_nums, with the bits of moe_dispatch.
  Status dispatch(const MoeDispatchArgs& args);
  /// Collective. After a dispatch: x, y and rstd of moe_combine_add_rmsnorm, rounded to T after the
  /// weighted sum and after shared_expert_x too.
  Status combine(const MoeCombineAddRmsNormArgs& args);

 private:
  UnfusedMoe(Context& context, Group& group, AddRmsNorm norm)
      : context_(&context), group_(&group), norm_(std::move(norm)) {}
  Status allocate(const MoeDispatchArgs& args);
  void sort(const MoeDispatchArgs& args);
  void count_parts();
  void sort_arrived(const MoeDispatchArgs& args);
  Status exchange(bool back, DType dtype);
  void weighted_sum(const MoeCombineArgs& args);
  void add_shared(const MoeCombineArgs& args);
  /// body(row, thread), dealt out to the threads.
  template <typename Body>
  void for_rows(std::int64_t rows, const Body& body) const;
  std::byte* sent_row(std::int64_t row) const { return sent_.data() + row * row_bytes_; }
  std::byte* arrived_row(std::int64_t row) const { return arrived_.data() + row * row_bytes_; }

  Context* context_;
  Group* group_;
  AddRmsNorm norm_;
  const rows::Kernels* kernels_ = nullptr;
  reduction::CopyFn copy_ = nullptr;
  std::int64_t tokens_ = 0, top_k_ = 0, hidden_ = 0, row_bytes_ = 0, local_experts_ = 0;
  Buffer sent_;  ///< rows of this rank's tokens, by expert; what comes back takes the same places
  Buffer arrived_;                          ///< rows for this rank's experts, by source and expert
  std::vector<std::int64_t> sent_place_;    ///< row of sent_, of entry t · K + k
  std::vector<std::int64_t> expand_place_;  ///< row of expand_x, of a row of arrived_
  std::vector<std::int64_t> sent_counts_, arrived_counts_;  ///< rows of each expert
  std::vector<std::int64_t> next_;                          ///< of each expert, while sorting
  /// Elements for and from each rank, and where they begin.
  std::vector<std::int64_t> send_, send_offsets_, recv_, recv_offsets_;
  std::int64_t arrived_rows_ = 0;
  std::vector<rows::Term> terms_;  ///< top_k of each thread
};

}  // namespace weft::bench
