// SPDX-License-Identifier: Apache-2.0
// What CANN's first versions of dispatch and combine keep other books about than weft's operators.
#pragma once

#include <cstdint>
#include <vector>

#include "aclnn_moe_task.h"
#include "weft/ops/moe_combine.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::cann {

/// expandIdx. For each entry, how many entries before it have its expert: its place among the rows
/// that this rank sends there. Entries that are not sent get the place that they would have.
void write_places(const MoeDispatchArgs& args, std::int32_t* places);

/// The tokens that a rank with a shared expert keeps, cut into slices as if they came from all the
/// ranks with one: `counts` begins with as many running sums, of which the last is right.
void cut_own_tokens(std::int32_t* counts, std::int64_t slices, std::int64_t rank);

/// The first combine is not told where rows came from. As it has the same expertIds as dispatch,
/// the ranks dispatch once more, rows without elements.
class Route {
 public:
  /// Replaces what `combine` needs of a dispatch by what run() will find.
  void prepare(MoeCombineArgs& combine, std::int64_t local_experts, int ranks, bool tp);
  Status check_plan(int rank, int ranks, bool tp) const;
  Status check_run(int rank) const;
  Status plan(const MoeTask& task);
  /// Errors: also kInvalidArgument if epSendCounts does not end with the rows that were found.
  Status run();

  ConstTensorRef ep_send_counts;  ///< of the caller, dense

 private:
  MoeNative<MoeDispatch, MoeDispatchArgs, MoeDispatchOptions> native_;
  std::vector<std::int32_t> assist_, counts_, tp_counts_;
  std::vector<std::int64_t> nums_;
  std::size_t rows_at_ = 0;  // in counts_
};

}  // namespace weft::cann
