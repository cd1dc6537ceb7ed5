// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>
#include <vector>

#include "base/context_state.h"
#include "base/row_offsets.h"
#include "comm/group_state.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rows/rows.h"
#include "ops/moe_dispatch/contract.h"
#include "ops/moe_routing/placement.h"
#include "ops/moe_routing/routing.h"
#include "tile/row_exchange.h"
#include "weft/ops/moe_dispatch.h"

namespace weft::ops {

/// What a rank says of its call before anything of it travels; rows of each place follow it.
struct DispatchHead {
  std::int64_t pieces;    ///< in the ring; 0: its rows are all in the half
  std::int64_t capacity;  ///< rows of its expand_x
  std::int64_t most;      ///< rows that any one rank gets of it
};

/// How a row travels: its elements, with int8 a scale behind them.
struct DispatchWire {
  DType dtype;                ///< of expand_x
  std::int64_t row_bytes;     ///< of the elements
  std::int64_t scale_offset;  ///< -1: none
  std::int64_t bytes() const;
};

/// A row that this rank stages, or of its own tokens for its own experts.
struct StagedRow {
  std::int32_t token;
  std::int64_t place;
};

/// A row that has arrived and where it goes.
struct ArrivedRow {
  const std::byte* from;
  std::int64_t to;
};
inline constexpr std::int64_t kArrivedBatch = 1024;

}  // namespace weft::ops

namespace weft::internal {

struct MoeDispatchPlan {
  Context& context;
  GroupState& group;
  MoeDispatchArgs args;  ///< as planned; the data pointers in it are not used
  MoeDispatchOptions options;
  CallHeader header;  ///< what all ranks must agree on
  ops::Placement placement;
  ops::Routing routing;
  ops::DispatchWire wire;
  tile::RowLayout layout;
  std::int64_t piece_tokens = 0;  ///< whose rows fit into a piece of the ring, whatever they are
  const rows::Kernels& rows;
  reduction::CopyFn copy;

  // Of the run at hand; no vector grows.
  std::vector<std::int64_t> labels;    ///< for each rank, in the piece at hand
  std::vector<std::size_t> sent;       ///< for each place, entries that were staged
  std::vector<std::int32_t> row_of;    ///< for each token, its row in the piece at hand, or -1
  std::vector<ops::StagedRow> staged;  ///< rows of the piece at hand
  std::vector<std::int64_t> next;  ///< for each local expert and source, where its next row goes
  std::vector<ops::ArrivedRow> arrived;  ///< a batch
  std::vector<std::int32_t> pair;        ///< with TP: what the two ranks tell each other
};

}  // namespace weft::internal

namespace weft::ops {

/// The arguments keep the contract.
Status run_dispatch(internal::MoeDispatchPlan& plan, const MoeDispatchArgs& args);
/// With TP: the rows of the pair's other rank, behind the own ones.
Status gather_pair(internal::MoeDispatchPlan& plan, const MoeDispatchArgs& args);

}  // namespace weft::ops
