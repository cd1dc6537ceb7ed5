// SPDX-License-Identifier: Apache-2.0
// What moe_combine and moe_combine_add_rmsnorm share: rows travel back to the ranks of their
// tokens, and an epilogue for every token, which gets its rows and their weights.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/context_state.h"
#include "base/scratch.h"
#include "comm/group_state.h"
#include "kernels/reduce/reduce.h"
#include "kernels/rows/rows.h"
#include "ops/moe_combine/contract.h"
#include "ops/moe_routing/placement.h"
#include "tile/row_exchange.h"
#include "weft/ops/moe_combine.h"

namespace weft::ops {

/// A token whose rows are all there.
struct TokenTerms {
  std::int64_t token;
  rows::Term* terms;  ///< with room for one more
  int count;
  std::byte* scratch;  ///< n floats of this thread
  rows::Store store;   ///< how outputs are best written
};

/// What becomes of a token; called once for every active one, on any thread of the rank.
class CombineEpilogue {
 public:
  virtual ~CombineEpilogue() = default;
  virtual void finish(const TokenTerms& token) const = 0;
};

/// How a returned row travels: as T, or as int8 with a scale for every 8 elements behind them.
struct CombineWire {
  std::int64_t row_bytes;     ///< of the elements
  std::int64_t scale_offset;  ///< -1: as T
  std::int64_t bytes;         ///< in all, whole cache lines
};

/// A row of expand_x and where it goes. In the order of `turn` rows can travel in pieces without a
/// rank waiting for itself: token 0 of rank 0, token 0 of rank 1, …, token 1 of rank 0, …
struct Route {
  std::int64_t turn;
  std::int32_t row, owner, token, slot;
};

/// The shared part of a plan.
class Combine {
 public:
  /// For operands that keep the contract of `op`; `header` may hold more that ranks must agree on.
  static Result<Combine> plan(Context& context, Group& group, std::string_view op,
                              const MoeCombineArgs& args, const MoeCombineOptions& options,
                              internal::CallHeader header);

  /// Whether the group is usable; with TP the pair learns of it too.
  Status health() const;
  /// Collective. The arguments keep the contract.
  Status run(const MoeCombineArgs& args, const CombineEpilogue& epilogue);

  const MoeCombineArgs& planned() const { return args_; }
  internal::GroupState& group() const { return *group_; }
  const rows::Kernels& row_kernels() const { return *rows_; }
  bool tp() const { return options_.tp_group != nullptr; }
  std::string describe() const;

 private:
  friend class CombineRun;
  Combine(Context& context, Group& group, const MoeCombineArgs& args,
          const MoeCombineOptions& options, const internal::CallHeader& header);
  Status allocate();
  Status add_pair(const MoeCombineArgs& args);

  Context* context_;
  internal::GroupState* group_;
  std::string_view op_;
  MoeCombineArgs args_;  // as planned; the data pointers in it are not used
  MoeCombineOptions options_;
  internal::CallHeader header_;
  Placement placement_;
  CombineWire wire_;
  tile::RowLayout layout_;
  const rows::Kernels* rows_;
  reduction::CopyFn copy_;
  std::int64_t piece_rows_ = 0;  // that fit into a piece of the ring

  // Of the run at hand; no vector grows.
  Scratch scratch_;
  std::int64_t scratch_bytes_ = 0;  // of one thread
  Scratch pair_sum_;                // with TP: the rows after both ranks' parts were added
  std::vector<Route> routes_;
  std::vector<std::int64_t> labels_;  // for each rank, in the piece at hand
  std::vector<const void*> arrived_;  // for each token and slot, its row or null
};

}  // namespace weft::ops
