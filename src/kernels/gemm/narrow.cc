// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/narrow.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/memory.h"
#include "kernels/gemm/batch.h"

namespace weft::gemm {
namespace {

std::int64_t bytes(DType type, std::int64_t count) { return count * info(type).bits / 8; }

const std::byte* at(const void* base, std::int64_t bytes) {
  return base ? static_cast<const std::byte*>(base) + bytes : nullptr;
}

// Sums of a panel or strip stay in L1.
constexpr std::int64_t kSumBytes = 24 << 10;

bool is_along_n(const Weight& weight) { return !weight.k_is_adjacent(); }

// Columns that a call of the kernel takes, of `columns` on a thread: a panel; or a strip of a
// weight whose rows are whole: what keeps the sums in L1 and the scales in L2. All strips are about
// equally wide and, but the last, of whole groups of three or four vectors (generic_narrow_rows.h).
std::int64_t call_columns(const Batch& g, const Product& product, std::int64_t columns) {
  const Weight& weight = product.weight;
  if (!is_along_n(weight)) return g.kernel->narrow.columns;
  constexpr std::int64_t kScaleBytes = 256 << 10;
  const std::int64_t unit = 6 * g.kernel->nr, column_sums = kAccBytes * product.m;
  const std::int64_t groups =
      weight.per_tensor || !weight.group_size ? 1 : ceil_div(g.k, weight.group_size);
  const std::int64_t column_scales = groups * (weight.offset ? 2 : 1) * bytes(g.kernel->b, 1);
  const std::int64_t most = std::min(kSumBytes / column_sums, kScaleBytes / column_scales);
  const std::int64_t strips = ceil_div(columns, std::max(unit, most / unit * unit));
  return std::min(round_up(ceil_div(columns, strips), unit),
                  round_up(columns, narrow_unit(*g.kernel, weight)));
}

// One side of the weight: where a call of the kernel finds what belongs to its columns.
class SideColumns {
 public:
  // `scales`: room for those of some panels.
  SideColumns(const Batch& g, const Product& product, std::int64_t column, std::int64_t width,
              std::byte* acc, std::span<std::byte> scales)
      : g_(g),
        weight_(product.weight),
        along_n_(is_along_n(weight_)),
        column_(column),
        width_(width),
        bias_(product.bias),
        scales_(scales) {
    narrow_.m = static_cast<int>(product.m);
    narrow_.k = g.k;
    narrow_.x = product.packed;
    narrow_.stride_bytes = bytes(weight_.stored, along_n_ ? weight_.k_stride : weight_.n_stride);
    narrow_.acc = acc;
    narrow_.acc_stride_bytes = kAccBytes * width;
    narrow_.scale_step = weight_.per_tensor ? 0 : 1;
    narrow_.group_size = weight_.group_size ? weight_.group_size : g.k;
    narrow_.group_stride = weight_.per_tensor ? 0 : weight_.n;
    if (!along_n_) choose_strip();
  }

  // Columns [col, col + n) of the side, within [begin, end).
  const Narrow& at_column(std::int64_t col, int n, std::int64_t begin, std::int64_t end) {
    narrow_.n = n;
    narrow_.first = col == begin;
    narrow_.last = col + width_ >= end;
    narrow_.w = at(weight_.data, along_n_ ? bytes(weight_.stored, column_ + col)
                                          : (column_ + col) * narrow_.stride_bytes);
    narrow_.bias = at(bias_, (column_ + col) * kAccBytes);
    point_at_scales(begin, end, col);
    return narrow_;
  }

 private:
  // The scales of a panel are a line or two of every row of groups, each in a page of its own, and
  // few of those pages are in the TLB: 60 ns a row. So they are copied for some panels at a time.
  void choose_strip() {
    const std::int64_t groups = ceil_div(g_.k, narrow_.group_size);
    if (narrow_.group_stride == 0 || groups == 1) return;
    const std::int64_t rows = groups * (weight_.offset ? 2 : 1);
    const auto room = static_cast<std::int64_t>(scales_.size());
    constexpr std::int64_t kColumns = 1024, kMostBytes = 128 << 10;  // more gain little
    const std::int64_t column = rows * bytes(g_.kernel->b, 1);
    strip_ = std::min({kColumns, room / column, kMostBytes / column}) / width_ * width_;
    if (strip_) narrow_.group_stride = strip_;
  }

  void point_at_scales(std::int64_t begin, std::int64_t end, std::int64_t col) {
    const DType type = g_.kernel->b;
    if (strip_ == 0) {
      const std::int64_t offset = bytes(type, (column_ + col) * narrow_.scale_step);
      narrow_.scale = at(weight_.scale, offset);
      narrow_.offset = at(weight_.offset, offset);
      return;
    }
    const std::int64_t in_strip = (col - begin) % strip_;
    const std::int64_t rows = ceil_div(g_.k, narrow_.group_size), row = bytes(type, strip_);
    if (in_strip == 0) {
      const std::int64_t columns = std::min({strip_, end - col, g_.n - col});
      copy_strip(weight_.scale, col, columns, rows, scales_.data());
      if (weight_.offset)
        copy_strip(weight_.offset, col, columns, rows, scales_.data() + rows * row);
    }
    narrow_.scale = scales_.data() + bytes(type, in_strip);
    narrow_.offset = weight_.offset ? scales_.data() + rows * row + bytes(type, in_strip) : nullptr;
  }

  void copy_strip(const void* from, std::int64_t col, std::int64_t columns, std::int64_t rows,
                  std::byte* to) const {
    const DType type = g_.kernel->b;
    for (std::int64_t r = 0; r < rows; ++r)
      std::memcpy(to + bytes(type, r * strip_),
                  at(from, bytes(type, r * weight_.n + column_ + col)),
                  static_cast<size_t>(bytes(type, columns)));
  }

  const Batch& g_;
  const Weight& weight_;
  const bool along_n_;
  const std::int64_t column_;  // of the weight, where the side begins
  const std::int64_t width_;
  const void* const bias_;
  const std::span<std::byte> scales_;
  std::int64_t strip_ = 0;  // columns; 0: scales are used where they are
  Narrow narrow_{};
};

}  // namespace

bool narrow_applies(const Kernel& kernel, const Weight& weight, std::int64_t m,
                    std::int64_t second_side) {
  if (m > kernel.narrow.rows || weight.packed || weight.nz_rows || weight.is_scattered())
    return false;
  const bool along_n = is_along_n(weight);
  if (!kernel.narrow_for(weight.stored, along_n)) return false;
  // Columns (rows) of int4 that start inside a byte, and groups that end inside a step, are left to
  // the packing.
  const bool whole_bytes =
      (along_n ? weight.k_stride : weight.n_stride) % 2 == 0 && (!along_n || second_side % 2 == 0);
  return (weight.stored != DType::kInt4 || whole_bytes) && weight.group_size % kGroupUnit == 0;
}

std::int64_t narrow_unit(const Kernel& kernel, const Weight& weight) {
  return (is_along_n(weight) ? 2 : 1) * std::int64_t{kernel.nr};
}

int narrow_turns(const Weight& weight) { return is_along_n(weight) ? 2 : 4; }

std::int64_t narrow_scratch_bytes(const Kernel& kernel, int sides) {
  return sides * std::max(kSumBytes, 2 * kAccBytes * kernel.narrow.rows * kernel.narrow.columns);
}

bool multiply_narrow(const Batch& g, const ColumnsOf& columns, std::byte* scratch) {
  const Product& product = g.products[static_cast<size_t>(columns.product)];
  const int sides = g.blocking.sides;
  const std::int64_t width = call_columns(g, product, columns.end - columns.begin);
  const std::int64_t acc = round_up(kAccBytes * product.m * width, kCacheLine);
  const std::int64_t room = (g.scratch_bytes - sides * acc) / sides / kCacheLine * kCacheLine;
  const auto side = [&](int i) {
    return SideColumns(g, product, i * g.n, width, scratch + i * acc,
                       {scratch + sides * acc + i * room, static_cast<size_t>(room)});
  };
  static_assert(kMostSides == 2);
  SideColumns first = side(0), second = side(sides - 1);
  const NarrowFn multiply = g.kernel->narrow_for(product.weight.stored, is_along_n(product.weight));
  FinishedTile tile{};
  tile.product = columns.product;
  tile.m = static_cast<int>(product.m);
  tile.acc = scratch;
  tile.acc_stride_bytes = kAccBytes * width;
  tile.panel_columns = static_cast<int>(width);
  tile.twin = sides > 1 ? scratch + acc : nullptr;
  bool done = true;
  for (tile.col = columns.begin; tile.col < columns.end; tile.col += width) {
    tile.n = static_cast<int>(std::min(width, columns.end - tile.col));
    bool all = multiply(first.at_column(tile.col, tile.n, columns.begin, columns.end));
    if (sides > 1)
      all = multiply(second.at_column(tile.col, tile.n, columns.begin, columns.end)) && all;
    if (all)
      g.epilogue.finish(g.epilogue.object, tile);
    else
      done = false;
  }
  return done;
}

}  // namespace weft::gemm
