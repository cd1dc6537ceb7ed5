// SPDX-License-Identifier: Apache-2.0
// A block of rows at a time: the first product, whose tiles become the activation while they are
// hot, then the second one, whose tiles become rows of y.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/float16.h"
#include "ops/ffn/plan.h"

namespace weft::ops {
namespace {

class FfnRun {
 public:
  FfnRun(internal::FfnPlan& plan, const FfnArgs& args)
      : p_(plan), args_(args), y_offsets_(args.y, args.y.rank() - 1) {}

  void run() {
    const std::int64_t all = p_.ends.empty() ? 0 : p_.ends.back();
    for (std::int64_t begin = 0; begin < all; begin += p_.block_rows)
      block(begin, std::min(all, begin + p_.block_rows));
  }

 private:
  void block(std::int64_t begin, std::int64_t end) {
    block_begin_ = begin;
    find_parts(begin, end);
    if (p_.shape.k2 > 0) {
      bind_quant_scales();
      compute(p_.first, first_weight(args_), &Part::x_rows, row_source(args_.x),
              [](void* self, const gemm::FinishedTile& tile) {
                static_cast<FfnRun*>(self)->activate(tile);
              });
    }
    compute(p_.second, second_weight(args_), &Part::a_rows, activation_rows(),
            [](void* self, const gemm::FinishedTile& tile) {
              static_cast<FfnRun*>(self)->store(tile);
            });
    if (p_.dense_y.bytes() > 0) scatter(begin, end);
  }

  // Who has rows in the block, the one with most of them first.
  void find_parts(std::int64_t begin, std::int64_t end) {
    p_.parts.clear();
    auto expert = std::ranges::upper_bound(p_.ends, begin) - p_.ends.begin();
    for (std::int64_t row = begin; row < end; ++expert) {
      const std::int64_t last = std::min(end, p_.ends[static_cast<size_t>(expert)]);
      if (last == row) continue;
      p_.parts.push_back({.expert = expert,
                          .x_rows = {row, last},
                          .a_rows = {row - begin, last - begin},
                          .quant = {}});
      row = last;
    }
    std::ranges::sort(p_.parts, [](const Part& a, const Part& b) {
      const std::int64_t rows_a = a.x_rows.count(), rows_b = b.x_rows.count();
      return rows_a != rows_b ? rows_a > rows_b : a.expert < b.expert;
    });
  }

  void compute(GroupedMatmul& product, const WeightOperands& weight, gemm::RowRun Part::*rows,
               const gemm::RowSource& source, void (*finish)(void*, const gemm::FinishedTile&)) {
    p_.groups.clear();
    for (const Part& part : p_.parts) p_.groups.push_back({{&(part.*rows), 1}, part.expert});
    product.bind(weight, p_.groups);
    product.compute(source, {this, finish});
  }

  gemm::RowSource activation_rows() const {
    const std::int64_t dims[] = {p_.block_rows, p_.shape.k2};
    const std::int64_t strides[] = {p_.a_row_bytes / bytes_of(args_.x.dtype(), 1), 1};
    return row_source(ConstTensorRef(p_.a.data(), args_.x.dtype(), dims, strides));
  }

  // Scale and offset pass through float16.
  void bind_quant_scales() {
    if (!args_.scale.given()) return;
    for (size_t i = 0; i < p_.parts.size(); ++i) {
      Part& part = p_.parts[i];
      const bool experts = p_.shape.has_experts();
      const ConstTensorRef &scale = args_.scale, &offset = args_.offset;
      const bool per_channel = scale.rank() == (experts ? 2 : 1) && scale.dim(scale.rank() - 1) > 1;
      const std::int64_t from = experts ? part.expert * scale.stride(0) : 0;
      const std::int64_t step = per_channel ? scale.stride(scale.rank() - 1) : 0;
      auto* to =
          reinterpret_cast<float*>(p_.quant.data() + static_cast<std::int64_t>(i) * p_.quant_bytes);
      for (std::int64_t j = 0; j < (per_channel ? p_.shape.k2 : 1); ++j)
        to[j] = through_fp16(scale, from + j * step);
      part.quant = {to, per_channel ? 1 : 0,
                    through_fp16(offset, experts ? part.expert * offset.stride(0) : 0)};
    }
  }
  static float through_fp16(const ConstTensorRef& tensor, std::int64_t index) {
    return fp16_to_f32(f32_to_fp16(static_cast<const float*>(tensor.data())[index]));
  }

  const Part& part_of(const gemm::FinishedTile& tile) const {
    return p_.parts[static_cast<size_t>(tile.product)];
  }

  void activate(const gemm::FinishedTile& tile) {
    const Part& part = part_of(tile);
    const BoundWeight& weight = p_.first.bound(tile.product);
    activation::ActivateTile a{};
    a.m = tile.m;
    a.n = tile.n;
    a.acc = tile.acc;
    a.acc_stride_bytes = tile.acc_stride_bytes;
    a.panel_columns = tile.panel_columns;
    a.panel_stride_bytes = tile.panel_stride_bytes;
    if (weight.scale) a.scale = weight.scale + tile.col;
    if (tile.twin) {
      a.gate = tile.twin;
      if (weight.scale) a.gate_scale = weight.scale + p_.shape.k2 + tile.col;
      if (p_.options.gate_is_left) {
        std::swap(a.acc, a.gate);
        std::swap(a.scale, a.gate_scale);
      }
    }
    a.dst = p_.a.data() + (part.a_rows.begin + tile.row) * p_.a_row_bytes +
            bytes_of(args_.x.dtype(), tile.col);
    a.dst_stride_bytes = p_.a_row_bytes;
    if (part.quant.scale) {
      a.quant_scale = part.quant.scale + part.quant.step * tile.col;
      a.quant_step = part.quant.step;
      a.quant_offset = part.quant.offset;
    }
    p_.activate(a);
  }

  // Rows of the tile that are one stride apart in y, one run after the other.
  void store(const gemm::FinishedTile& tile) {
    const std::int64_t first = part_of(tile).x_rows.begin + tile.row;
    auto* const y = static_cast<std::byte*>(args_.y.data());
    for (std::int64_t i = 0; i < tile.m;) {
      const std::int64_t row = first + i;
      std::int64_t rows = tile.m - i;
      if (p_.dense_y.bytes() > 0) {
        store_rows(tile, i, rows, p_.dense_y.data() + (row - block_begin_) * p_.shape.n2 * 2,
                   p_.shape.n2 * 2);
      } else {
        rows = std::min(rows, y_offsets_.run(row));
        store_rows(tile, i, rows, y + y_offsets_[row], y_offsets_.stride_bytes());
      }
      i += rows;
    }
  }

  void store_rows(const gemm::FinishedTile& tile, std::int64_t begin, std::int64_t count,
                  std::byte* dst, std::int64_t row_bytes) {
    rows::StoreTile s = p_.second.tile_rows(tile, begin, count);
    s.dst = dst + tile.col * 2;
    s.dst_stride_bytes = row_bytes;
    s.store = p_.store;
    if (p_.shape.k2 == 0 && p_.io == DType::kBFloat16 && !s.scale)
      store_bias_half_away(s);
    else
      p_.second.store(s);
  }

  // With nothing to add to it the bias is rounded to bfloat16 half away from zero.
  static void store_bias_half_away(const rows::StoreTile& s) {
    for (int i = 0; i < s.m; ++i)
      for (int j = 0; j < s.n; ++j) {
        std::uint32_t bits;
        std::memcpy(&bits,
                    static_cast<const std::byte*>(s.acc) + i * s.acc_stride_bytes +
                        j / s.panel_columns * s.panel_stride_bytes + j % s.panel_columns * 4,
                    sizeof(bits));
        const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
        const auto half =
            static_cast<std::uint16_t>((nan ? bits | 0x400000u : bits + 0x8000u) >> 16);
        std::memcpy(static_cast<std::byte*>(s.dst) + i * s.dst_stride_bytes + j * 2, &half,
                    sizeof(half));
      }
  }

  // Dense rows to wherever the elements of y lie.
  void scatter(std::int64_t begin, std::int64_t end) {
    const std::int64_t n = p_.shape.n2, step = args_.y.stride(args_.y.rank() - 1) * 2;
    p_.context.pool.parallel_for(end - begin, [&](std::int64_t row, int) {
      const std::byte* from = p_.dense_y.data() + row * n * 2;
      std::byte* to = static_cast<std::byte*>(args_.y.data()) + y_offsets_[begin + row];
      for (std::int64_t j = 0; j < n; ++j) std::memcpy(to + j * step, from + j * 2, 2);
    });
  }

  internal::FfnPlan& p_;
  const FfnArgs& args_;
  const RowOffsets y_offsets_;
  std::int64_t block_begin_ = 0;
};

}  // namespace

void run_rows(internal::FfnPlan& plan, const FfnArgs& args) { FfnRun(plan, args).run(); }

}  // namespace weft::ops
