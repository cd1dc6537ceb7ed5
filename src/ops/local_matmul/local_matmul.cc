// SPDX-License-Identifier: Apache-2.0
#include "ops/local_matmul/local_matmul.h"

#include <fmt/core.h>

#include <algorithm>

#include "ops/dense.h"

namespace weft::ops {
namespace {

WeightOperands weight_of(const MatmulOperands& operands) {
  WeightOperands weight;
  weight.weight = operands.x2;
  weight.packed = operands.packed_x2;
  weight.bias = operands.bias;
  weight.dequant_scale = operands.dequant_scale;
  weight.antiquant_scale = operands.antiquant_scale;
  weight.antiquant_offset = operands.antiquant_offset;
  weight.group_size = operands.antiquant_group_size;
  return weight;
}

}  // namespace

Result<LocalMatmul> LocalMatmul::plan(internal::ContextState& context,
                                      const MatmulOperands& operands, DType io,
                                      std::int64_t max_rows, int max_runs) {
  LocalMatmul local;
  local.m_ = rows_of(operands.x1);
  WEFT_ASSIGN_OR_RETURN(local.grouped_, GroupedMatmul::plan(context, weight_of(operands),
                                                            {.x = operands.x1.dtype(),
                                                             .io = io,
                                                             .max_rows = max_rows,
                                                             .max_groups = 1,
                                                             .packed_name = "packed_x2"}));
  if (operands.pertoken_scale.given()) {
    WEFT_ASSIGN_OR_RETURN(local.row_scale_,
                          context.scratch.reserve(ScratchFor::kRowScales, local.m_ * 4));
  }
  local.runs_.reserve(static_cast<size_t>(max_runs));
  return local;
}

void LocalMatmul::bind(const MatmulOperands& operands) {
  x1_ = row_source(operands.x1);
  const RowGroup all[1];
  grouped_.bind(weight_of(operands), all);
  if (operands.pertoken_scale.given()) copy_dense(operands.pertoken_scale, row_scale_.data());
  has_x3_ = operands.x3.given();
  if (has_x3_) x3_ = RowView<const std::byte>(operands.x3);
}

void LocalMatmul::store_tile(const gemm::FinishedTile& tile) {
  std::int64_t first = 0;  // row of the output where a run begins
  for (const PartialRun& run : output_.runs) {
    const std::int64_t begin = std::max(tile.row, first),
                       end = std::min(tile.row + tile.m, first + run.rows.count());
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t row = run.rows.begin + i - first;
      const std::int64_t stop = has_x3_ ? i + x3_.run(row, row + end - i) : end;
      store_rows(tile, static_cast<int>(i - tile.row), static_cast<int>(stop - tile.row), row,
                 run.dst + (i - first) * output_.row_bytes);
      i = stop;
    }
    first += run.rows.count();
  }
}

void LocalMatmul::store_rows(const gemm::FinishedTile& tile, int begin, int end, std::int64_t row,
                             std::byte* dst) {
  rows::StoreTile store = grouped_.tile_rows(tile, begin, end - begin);
  store.dst = dst + tile.col * (output_.quant_scale ? 1 : 2);
  store.dst_stride_bytes = output_.row_bytes;
  store.store = output_.store;
  if (output_.quant_scale) store.quant_scale = output_.quant_scale + tile.col;
  if (has_x3_) {
    store.addend = x3_[row] + tile.col * 2;
    store.addend_stride_bytes = x3_.row_bytes();
  }
  if (row_scale_.bytes() > 0)
    store.row_scale = reinterpret_cast<const float*>(row_scale_.data()) + row;
  grouped_.store(store);
}

void LocalMatmul::compute(const Output& output) {
  output_ = output;
  runs_.clear();
  for (const PartialRun& run : output.runs) runs_.push_back(run.rows);
  grouped_.set_runs(0, runs_);
  grouped_.compute(x1_, {this, [](void* object, const gemm::FinishedTile& tile) {
                           static_cast<LocalMatmul*>(object)->store_tile(tile);
                         }});
}

std::string LocalMatmul::describe() const {
  return grouped_.describe("x2") +
         fmt::format("scratch   {:.1f} MiB\n", static_cast<double>(scratch_bytes()) / (1 << 20));
}

}  // namespace weft::ops
