// SPDX-License-Identifier: Apache-2.0
// moe_dispatch one row at a time, straight from its definition: for tests and `weft check`. Needs
// the operands of all ranks in one process.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/reference_bounds.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::ops {

/// Where a row of expand_x comes from.
struct MoeRow {
  std::int64_t source, token;
  std::int64_t slot;   ///< k, or K + shared expert
  std::int64_t scale;  ///< row of `scales`
};
/// The rows of one rank in their order, without those of its pair, and where its (local expert,
/// source) blocks end: ep_recv_counts.
struct MoeRoute {
  std::vector<MoeRow> rows;
  std::vector<std::int64_t> ends;
};
MoeRoute reference_route(std::span<const MoeDispatchArgs> ranks, int rank);

/// Rows that the experts of `rank` get, without those of its pair.
std::int64_t reference_rows(std::span<const MoeDispatchArgs> ranks, int rank);

/// Checks row `row` of expand_x, dynamic_scales and assist_info_for_combine of ranks[rank]: every
/// bit is known, so an error is 0 or infinite. With TP `pair` has the operands of the other ranks
/// of the pairs, in the same order: rows behind the own ones are theirs.
RowError check_row(std::span<const MoeDispatchArgs> ranks, int rank, std::int64_t row,
                   std::span<const MoeDispatchArgs> pair = {});
/// The same of an own row, where its route is known: at less cost for those who check many.
RowError check_row(std::span<const MoeDispatchArgs> ranks, int rank, const MoeRoute& route,
                   std::int64_t row);
/// Checks all rows, at less cost.
RowError check_rows(std::span<const MoeDispatchArgs> ranks, int rank,
                    std::span<const MoeDispatchArgs> pair = {});
/// Checks expert_token_nums and ep_recv_counts, with TP also tp_recv_counts; tp_rank is the rank in
/// the pair.
RowError check_counts(std::span<const MoeDispatchArgs> ranks, int rank,
                      std::span<const MoeDispatchArgs> pair = {}, int tp_rank = 0);

}  // namespace weft::ops
