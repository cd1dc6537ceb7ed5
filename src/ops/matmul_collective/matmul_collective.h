// SPDX-License-Identifier: Apache-2.0
// What all matmul + collective operators do: the local product tile by tile, the sum over ranks
// through the windows, and an epilogue for every finished row. An operator adds its contract, and
// says who needs which rows (Collective), how rows travel (Wire) and what becomes of a row of the
// sum (Epilogue).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/context_state.h"
#include "comm/group_state.h"
#include "ops/local_matmul/local_matmul.h"
#include "ops/matmul_collective/wire.h"
#include "tile/tile_comm.h"
#include "weft/trace.h"

namespace weft::ops {

/// A row that this rank needs the sum of, on its way to the outputs.
struct SummedRow {
  std::int64_t row;  ///< of the whole problem
  ArrivedRow arrived;
  rows::Store store;  ///< how outputs are best written
  /// What the next row will read (AddRmsNormRow::ahead).
  const void* const* ahead;
  int ahead_count;
};

/// What becomes of a row of the sum; called once for every row that this rank needs, on any of its
/// threads. It makes the sum too, because one pass over the row does both.
class Epilogue {
 public:
  virtual ~Epilogue() = default;
  virtual void finish(const SummedRow& row) const = 0;
  /// A row of T that finish() will read besides what arrived, to be fetched ahead; or null.
  virtual const void* reads(std::int64_t row) const = 0;
};

/// Stores rows [first, …) of the sum in a tensor of T.
class StoreRows : public Epilogue {
 public:
  StoreRows(const Wire& wire, const TensorRef& output, std::int64_t first)
      : wire_(wire), output_(output), first_(first) {}
  void finish(const SummedRow& row) const override {
    wire_.finish(row.arrived, output_[row.row - first_], row.store);
  }
  const void* reads(std::int64_t) const override { return nullptr; }

 private:
  const Wire& wire_;
  RowView<std::byte> output_;
  std::int64_t first_;
};

/// What an operator tells the plan.
struct CollectiveCall {
  std::string_view op;
  tile::Collective collective;
  MatmulOperands operands;
  CommScales comm_scales = {};
  DType io;
  bool empty = false;  ///< nothing to compute
  std::int64_t super_block_rows = 0;
  Trace* trace = nullptr;
};

/// The shared part of a plan.
class MatmulCollective {
 public:
  /// For operands that keep the contract. `header` may hold more that ranks must agree on.
  static Result<MatmulCollective> plan(internal::ContextState& context, internal::GroupState& group,
                                       const CollectiveCall& call, internal::CallHeader header);

  /// Nothing to compute: run_empty() in place of run().
  bool empty() const { return empty_; }
  /// Collective. Ends when all ranks have said that they make the same call.
  Status run_empty();
  /// Collective. The operands keep the contract.
  Status run(const MatmulOperands& operands, const CommScales& scales, const Epilogue& epilogue);

  const LocalMatmul& local() const { return local_; }
  const Wire& wire() const { return wire_; }
  std::string describe() const;

 private:
  friend class CollectiveRun;
  MatmulCollective(internal::ContextState& context, internal::GroupState& group,
                   const tile::Layout& layout, const internal::CallHeader& header)
      : context_(&context), group_(&group), layout_(layout), header_(header) {}

  internal::ContextState* context_;
  internal::GroupState* group_;
  tile::Layout layout_;
  internal::CallHeader header_;  // what all ranks must agree on
  bool empty_ = false;
  bool packs_x2_ = true;
  Trace* trace_ = nullptr;
  LocalMatmul local_;
  Wire wire_;
  Scratch row_scratch_;
  std::int64_t row_scratch_bytes_ = 0;  // of one thread
  std::vector<PartialRun> runs_;        // of the super-block at hand
};

}  // namespace weft::ops
