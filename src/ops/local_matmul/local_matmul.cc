// SPDX-License-Identifier: Apache-2.0
#include "ops/local_matmul/local_matmul.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/topology.h"
#include "ops/dense.h"
#include "ops/weights/packed_weight.h"

namespace weft::ops {

Result<LocalMatmul> LocalMatmul::plan(internal::ContextState& context,
                                      const MatmulOperands& operands, DType io,
                                      std::int64_t max_rows, int max_runs) {
  LocalMatmul local;
  local.context_ = &context;
  local.kernel_ = operands.packed_x2 ? operands.packed_x2->state().kernel
                                     : gemm::select(operands.x1.dtype(), context.isa);
  if (local.kernel_ && (local.kernel_->isa & ~context.isa))
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format(
            "packed_x2 was packed for {}, which this Context may not use ({}); pack it with "
            "this Context",
            local.kernel_->name, isa::names(context.isa)));
  if (!local.kernel_)
    return Status(StatusCode::kUnimplemented,
                  fmt::format("no gemm kernel for {} among the instruction sets {}",
                              to_string(operands.x1.dtype()), isa::names(context.isa)));
  local.rows_ = &rows::select(io, context.isa);
  local.m_ = rows_of(operands.x1);
  local.k_ = operands.weight_k();
  local.n_ = operands.weight_n();
  local.has_bias_ = operands.bias.given();
  if (operands.antiquant_scale.given()) {
    // Dense copies of scale and offset; their addresses must not change after this.
    const std::int64_t each = round_up(operands.antiquant_scale.elements() * 2, kCacheLine);
    WEFT_ASSIGN_OR_RETURN(local.antiquant_, Buffer::allocate(2 * each, "antiquant scales"));
  }
  local.bind_weight(operands);
  local.blocking_ =
      gemm::choose_blocking(*local.kernel_, local.weight_, local.n_, local.k_,
                            context.pool.threads(), {topology().l1d_bytes, topology().l2_bytes});
  WEFT_RETURN_IF_ERROR(local.allocate(max_rows, operands.pertoken_scale));
  local.runs_.reserve(static_cast<size_t>(max_runs));
  return local;
}

Status LocalMatmul::allocate(std::int64_t max_rows, const ConstTensorRef& pertoken_scale) {
  const int threads = context_->pool.threads();
  const std::int64_t panels = ceil_div(max_rows, kernel_->mr);
  WEFT_ASSIGN_OR_RETURN(packed_a_, Buffer::allocate(std::max(panels * kernel_->a_panel_bytes(k_),
                                                             kernel_->x_panel_bytes(k_)),
                                                    "packed x1"));
  scratch_bytes_ = gemm::blocked_scratch_bytes(*kernel_, weight_, blocking_, max_rows, k_);
  WEFT_ASSIGN_OR_RETURN(scratch_, Buffer::allocate(threads * scratch_bytes_, "blocks of x2"));
  WEFT_ASSIGN_OR_RETURN(gather_, Buffer::allocate(threads * gemm::gather_bytes(*kernel_, k_),
                                                  "rows of x1 with any strides"));
  const std::int64_t columns = round_up(n_, kernel_->nr);
  if (has_bias_) {
    WEFT_ASSIGN_OR_RETURN(bias_, Buffer::allocate(columns * 4, "bias"));
  }
  if (kernel_->acc == DType::kInt32) {
    WEFT_ASSIGN_OR_RETURN(scale_, Buffer::allocate(columns * 4, "dequant scale"));
  }
  if (pertoken_scale.given()) {
    WEFT_ASSIGN_OR_RETURN(row_scale_, Buffer::allocate(m_ * 4, "scales of the rows"));
  }
  return {};
}

void LocalMatmul::bind(const MatmulOperands& operands) {
  const ConstTensorRef& x1 = operands.x1;
  const int last = x1.rank() - 1;
  x1_.kernel = kernel_;
  x1_.k = k_;
  x1_.src = static_cast<const std::byte*>(x1.data());
  x1_.rows_per_batch = x1.dim(last - 1);
  x1_.batch_stride = last == 2 ? x1.stride(0) : 0;
  x1_.row_stride = x1.stride(last - 1);
  x1_.k_stride = k_ == 1 ? 1 : x1.stride(last);
  if (last == 2 && x1_.batch_stride == x1_.rows_per_batch * x1_.row_stride) {
    x1_.rows_per_batch = m_;  // batches follow each other: one long batch
    x1_.batch_stride = 0;
  }
  x1_.packed_a = packed_a_.data();
  x1_.gather = gather_.data();
  x1_.gather_bytes = gemm::gather_bytes(*kernel_, k_);
  bind_weight(operands);
  bind_antiquant(operands);
  bind_bias(operands.bias);
  bind_dequant_scale(operands.dequant_scale);
  bind_pertoken_scale(operands.pertoken_scale);
  has_x3_ = operands.x3.given();
  if (has_x3_) x3_ = RowView<const std::byte>(operands.x3);
}

void LocalMatmul::bind_weight(const MatmulOperands& operands) {
  if (operands.packed_x2) {
    weight_.stored = kernel_->b;
    weight_.packed = operands.packed_x2->state().panels.data();
    weight_.packed_kc = operands.packed_x2->state().kc;
    return;
  }
  weight_ = gemm::weight_of(operands.x2);
  const ConstTensorRef& scale = operands.antiquant_scale;
  if (!scale.given()) return;
  weight_.per_tensor = scale.elements() == 1 && operands.antiquant_group_size == 0;
  weight_.group_size = operands.antiquant_group_size;
  weight_.n = n_;
  std::byte* const dense_scale = antiquant_.data();
  weight_.scale = dense_scale;
  weight_.offset = operands.antiquant_offset.given()
                       ? dense_scale + round_up(scale.elements() * 2, kCacheLine)
                       : nullptr;
}

void LocalMatmul::bind_antiquant(const MatmulOperands& operands) {
  const ConstTensorRef& scale = operands.antiquant_scale;
  if (!scale.given()) return;
  copy_dense(scale, antiquant_.data());
  if (operands.antiquant_offset.given())
    copy_dense(operands.antiquant_offset,
               antiquant_.data() + round_up(scale.elements() * 2, kCacheLine));
}

void LocalMatmul::bind_bias(const ConstTensorRef& bias) {
  if (!has_bias_) return;
  if (bias.dtype() == DType::kInt32) return copy_dense(bias, bias_.data());
  auto* dst = reinterpret_cast<float*>(bias_.data());
  if (bias.stride(0) == 1 || n_ == 1) return rows_->widen(bias.data(), dst, n_);
  for (std::int64_t j = 0; j < n_; ++j)
    rows_->widen(static_cast<const std::byte*>(bias.data()) + j * bias.stride(0) * 2, dst + j, 1);
}

void LocalMatmul::bind_dequant_scale(const ConstTensorRef& scale) {
  if (kernel_->acc != DType::kInt32) return;
  const int last = scale.rank() - 1;
  const std::int64_t count = scale.dim(last), stride = count == 1 ? 0 : scale.stride(last);
  const auto* base = static_cast<const std::byte*>(scale.data());
  auto* dst = reinterpret_cast<float*>(scale_.data());
  const std::int64_t step = stride * info(scale.dtype()).bits / 8;
  for (std::int64_t j = 0; j < count; ++j) {
    if (scale.dtype() == DType::kBFloat16)
      rows_->widen(base + j * step, dst + j, 1);
    else  // the fp32 scale, or the low 32 bits of the word it is packed in
      std::memcpy(dst + j, base + j * step, 4);
  }
  scale_step_ = count == 1 ? 0 : 1;
}

void LocalMatmul::bind_pertoken_scale(const ConstTensorRef& scale) {
  if (scale.given()) copy_dense(scale, row_scale_.data());
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
  rows::StoreTile store{};
  store.m = end - begin;
  store.n = tile.n;
  store.acc = static_cast<const std::byte*>(tile.acc) + begin * tile.acc_stride_bytes;
  store.acc_stride_bytes = tile.acc_stride_bytes;
  store.panel_columns = tile.panel_columns;
  store.panel_stride_bytes = tile.panel_stride_bytes;
  store.dst = dst + tile.col * (output_.quant_scale ? 1 : 2);
  store.dst_stride_bytes = output_.row_bytes;
  store.store = output_.store;
  if (output_.quant_scale) store.quant_scale = output_.quant_scale + tile.col;
  if (has_x3_) {
    store.addend = x3_[row] + tile.col * 2;
    store.addend_stride_bytes = x3_.row_bytes();
  }
  if (kernel_->acc == DType::kInt32) {
    store.scale = reinterpret_cast<const float*>(scale_.data()) + scale_step_ * tile.col;
    store.scale_step = scale_step_;
    if (row_scale_.bytes() > 0)
      store.row_scale = reinterpret_cast<const float*>(row_scale_.data()) + row;
    rows_->store_tile_s32(store);
  } else {
    rows_->store_tile_f32(store);
  }
}

void LocalMatmul::compute(const Output& output) {
  output_ = output;
  runs_.clear();
  std::int64_t count = 0;
  for (const PartialRun& run : output.runs) {
    runs_.push_back(run.rows);
    count += run.rows.count();
  }
  if (count == 0) return;
  x1_.m = count;
  x1_.runs = runs_;
  gemm::Blocked blocked{};
  blocked.kernel = kernel_;
  blocked.rows = rows_;
  blocked.blocking = blocking_;
  blocked.m = count;
  blocked.n = n_;
  blocked.k = k_;
  blocked.packed_a = packed_a_.data();
  blocked.weight = weight_;
  blocked.bias = has_bias_ ? bias_.data() : nullptr;
  blocked.scratch = scratch_.data();
  blocked.scratch_bytes = scratch_bytes_;
  blocked.epilogue = {this, [](void* object, const gemm::FinishedTile& tile) {
                        static_cast<LocalMatmul*>(object)->store_tile(tile);
                      }};
  if (k_ == 0) return gemm::run_blocked(context_->pool, blocked);  // nothing to pack
  if (gemm::narrow_applies(*kernel_, weight_, blocked.m)) {
    gemm::pack_few_rows(x1_, packed_a_.data());
    if (gemm::run_narrow(context_->pool, blocked, packed_a_.data())) return;
  }
  gemm::pack_rows(context_->pool, x1_);
  gemm::run_blocked(context_->pool, blocked);
}

std::int64_t LocalMatmul::scratch_bytes() const {
  return packed_a_.bytes() + scratch_.bytes() + gather_.bytes() + bias_.bytes() + scale_.bytes() +
         row_scale_.bytes() + antiquant_.bytes();
}

std::string LocalMatmul::describe() const {
  return fmt::format(
      "kernel    {}\nblocks    {} x {} of x2 packed per thread, in chunks of {} rows of k\nx2      "
      "  {}\nscratch   "
      "{:.1f} MiB\n",
      kernel_->name, blocking_.ks, blocking_.nc, blocking_.kc,
      weight_.packed            ? "packed by the caller"
      : weight_.nz_rows         ? "FRACTAL_NZ"
      : weight_.k_is_adjacent() ? "transposed view (n, k)"
                                : "row-major (k, n)",
      static_cast<double>(scratch_bytes()) / (1 << 20));
}

}  // namespace weft::ops
