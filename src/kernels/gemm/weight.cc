// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/weight.h"

#include <algorithm>
#include <cstring>

#include "base/fractal_nz.h"
#include "base/memory.h"

namespace weft::gemm {
namespace {

// Weights are restored through a strip that stays in L1/L2: this many rows of k (row-major
// weights), or the columns of one panel (weights with adjacent k). 32 is a multiple of every
// floating-point k_step.
constexpr std::int64_t kStripRows = 32;
// Weights whose elements lie anywhere, in the kernel's type: a multiple of every k_step.
constexpr std::int64_t kScatteredRows = 64;

constexpr std::int64_t kChunk = FractalNz::kChunkBytes;

// FRACTAL_NZ weights are brought together as dense rows in a strip that stays in L1. Wider or
// longer strips lose up to 15 % of the packing.
// Chunks along n: two chunks wide, because pack_b takes rows of whole lines; every nr divides that.
// 64 is a multiple of every k_step.
constexpr std::int64_t kNzRowBytes = 2 * kChunk;
constexpr std::int64_t kNzRows = 64;
// Chunks along k: the columns of one panel, four chunks deep. The stride is one line more, because
// columns a power of two apart share sets of L1, and room for a strip that starts inside a chunk.
constexpr std::int64_t kNzDepthBytes = 4 * kChunk;
constexpr std::int64_t kNzColumnStride = kNzDepthBytes + kCacheLine;

const std::byte* element(const void* base, DType dtype, std::int64_t index) {
  return static_cast<const std::byte*>(base) + index * info(dtype).bits / 8;
}

struct Range {
  std::int64_t begin, count;
};

// Dense rows of a part of a FRACTAL_NZ image, stride bytes apart, made in `scratch`; whole chunks
// are copied, so a row takes up to two chunks more than its columns. Returns the first element.
const std::byte* gather(const Weight& weight, Range rows, Range columns, std::byte* scratch,
                        std::int64_t stride) {
  const std::int64_t size = info(weight.stored).bits / 8, c0 = kChunk / size;
  const std::int64_t first = columns.begin / c0, end = ceil_div(columns.begin + columns.count, c0);
  // What is read next: the same rows of the next chunk along k, the next strip of this one along n.
  // The runs are too short for the hardware prefetcher: without, packing takes 10 % longer.
  const std::int64_t ahead = (weight.nz_transposed ? weight.nz_rows : kNzRows) * kChunk;
  for (std::int64_t chunk = first; chunk < end; ++chunk) {
    const std::byte* from =
        static_cast<const std::byte*>(weight.data) + (chunk * weight.nz_rows + rows.begin) * kChunk;
    std::byte* to = scratch + (chunk - first) * kChunk;
    for (std::int64_t i = 0; i < rows.count; ++i, from += kChunk, to += stride) {
      __builtin_prefetch(from + ahead);
      std::memcpy(to, from, kChunk);
    }
  }
  return scratch + (columns.begin - first * c0) * size;
}

// Dense rows of a part of a weight whose elements lie anywhere, made in `scratch`.
const std::byte* gather_scattered(const Weight& weight, Range rows, Range columns,
                                  std::byte* scratch, std::int64_t stride) {
  const std::int64_t size = info(weight.stored).bits / 8;
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::byte* from =
        element(weight.data, weight.stored,
                (rows.begin + i) * weight.k_stride + columns.begin * weight.n_stride);
    std::byte* to = scratch + i * stride;
    for (std::int64_t j = 0; j < columns.count; ++j, to += size)
      std::memcpy(to, from + j * weight.n_stride * size, static_cast<size_t>(size));
  }
  return scratch;
}

// Bytes between the dense rows of `count` elements that are gathered in strips.
std::int64_t gathered_stride(const Weight& weight, std::int64_t count) {
  const std::int64_t padding = weight.nz_rows ? 2 * kChunk : 0;
  return round_up(count * info(weight.stored).bits / 8 + padding, kCacheLine);
}
bool is_gathered(const Weight& weight) { return weight.nz_rows != 0 || weight.is_scattered(); }

void gather_and_pack_scattered(const Kernel& kernel, const Weight& weight, const BlockRange& range,
                               std::byte* dst, std::int64_t panel_stride_bytes,
                               std::byte* scratch) {
  const std::int64_t stride = gathered_stride(weight, range.nc);
  for (std::int64_t begin = 0; begin < range.kc; begin += kScatteredRows) {
    const std::int64_t count = std::min(kScatteredRows, range.kc - begin);
    gather_scattered(weight, {range.k0 + begin, count}, {range.n0, range.nc}, scratch, stride);
    kernel.pack_b({scratch, stride, count, range.nc, dst, panel_stride_bytes, begin});
  }
}

// Chunks along n.
void gather_and_pack_rows(const Kernel& kernel, const Weight& weight, const BlockRange& range,
                          std::byte* dst, std::int64_t panel_stride_bytes, std::byte* scratch) {
  const std::int64_t width = kNzRowBytes * 8 / info(weight.stored).bits;
  const std::int64_t end = range.n0 + range.nc;
  for (std::int64_t j = range.n0, next; j < end; j = next) {
    next = std::min(end, (j / width + 1) * width);
    std::byte* panel = dst + (j - range.n0) / kernel.nr * panel_stride_bytes;
    for (std::int64_t begin = 0; begin < range.kc; begin += kNzRows) {
      const std::int64_t count = std::min(kNzRows, range.kc - begin);
      const std::byte* src =
          gather(weight, {range.k0 + begin, count}, {j, next - j}, scratch, kNzRowBytes);
      kernel.pack_b({src, kNzRowBytes, count, next - j, panel, panel_stride_bytes, begin});
    }
  }
}

// Chunks along k.
void gather_and_pack_columns(const Kernel& kernel, const Weight& weight, const BlockRange& range,
                             std::byte* dst, std::int64_t panel_stride_bytes, std::byte* scratch) {
  const std::int64_t depth = kNzDepthBytes * 8 / info(weight.stored).bits;
  std::byte* panel = dst;
  for (std::int64_t j = 0; j < range.nc; j += kernel.nr, panel += panel_stride_bytes) {
    const std::int64_t columns = std::min<std::int64_t>(kernel.nr, range.nc - j);
    for (std::int64_t begin = 0; begin < range.kc; begin += depth) {
      const std::int64_t count = std::min(depth, range.kc - begin);
      const std::byte* src = gather(weight, {range.n0 + j, columns}, {range.k0 + begin, count},
                                    scratch, kNzColumnStride);
      kernel.pack_bt({src, kNzColumnStride, count, columns, panel, panel_stride_bytes, begin});
    }
  }
}

// Where adjacent weights start.
struct Run {
  const std::byte* data;
  int nibble = 0;
};

Run run_at(const Weight& weight, std::int64_t index) {
  const bool odd = weight.stored == DType::kInt4 && index % 2 != 0;
  return {element(weight.data, weight.stored, index), odd ? 1 : 0};
}

void restore(const rows::Kernels& rows, const Weight& weight, Run run, std::int64_t n,
             std::int64_t scale_index, int step, std::byte* dst) {
  const DType type = rows.type;
  rows::AntiquantRow args{};
  args.src = run.data;
  args.src_nibble = run.nibble;
  args.n = n;
  args.scale = element(weight.scale, type, scale_index);
  args.offset = weight.offset ? element(weight.offset, type, scale_index) : nullptr;
  args.step = step;
  args.dst = dst;
  (weight.stored == DType::kInt4 ? rows.antiquant_int4_row : rows.antiquant_int8_row)(args);
}

std::int64_t scale_row(const Weight& weight, std::int64_t p) {
  return weight.group_size ? p / weight.group_size * weight.n : 0;
}

// Bytes between restored rows of `count` values.
std::int64_t restored_stride(std::int64_t count) { return round_up(count * 2, kCacheLine); }

// Adjacent n: strips of kStripRows rows across the whole block.
void restore_and_pack_rows(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                           const BlockRange& range, std::byte* dst, std::int64_t panel_stride_bytes,
                           std::byte* scratch) {
  const std::int64_t stride = restored_stride(range.nc), from = gathered_stride(weight, range.nc);
  const int step = weight.per_tensor ? 0 : 1;
  for (std::int64_t begin = 0; begin < range.kc; begin += kStripRows) {
    const std::int64_t count = std::min(kStripRows, range.kc - begin), k0 = range.k0 + begin;
    const std::byte* gathered = is_gathered(weight) ? (weight.nz_rows ? gather : gather_scattered)(
                                                          weight, {k0, count}, {range.n0, range.nc},
                                                          scratch + kStripRows * stride, from)
                                                    : nullptr;
    for (std::int64_t i = 0; i < count; ++i) {
      const Run run = gathered ? Run{gathered + i * from}
                               : run_at(weight, (k0 + i) * weight.k_stride + range.n0);
      restore(rows, weight, run, range.nc, step * (scale_row(weight, k0 + i) + range.n0), step,
              scratch + i * stride);
    }
    kernel.pack_b({scratch, stride, count, range.nc, dst, panel_stride_bytes, begin});
  }
}

// Adjacent k: one panel of columns at a time, each column in runs that share a scale.
void restore_and_pack_columns(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                              const BlockRange& range, std::byte* dst,
                              std::int64_t panel_stride_bytes, std::byte* scratch) {
  const std::int64_t stride = restored_stride(range.kc), from = gathered_stride(weight, range.kc);
  const std::int64_t k_end = range.k0 + range.kc;
  for (std::int64_t j0 = 0; j0 < range.nc; j0 += kernel.nr) {
    const std::int64_t columns = std::min<std::int64_t>(kernel.nr, range.nc - j0);
    const std::byte* gathered = weight.nz_rows
                                    ? gather(weight, {range.n0 + j0, columns}, {range.k0, range.kc},
                                             scratch + kernel.nr * stride, from)
                                    : nullptr;
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::int64_t column = range.n0 + j0 + j;
      for (std::int64_t p = range.k0; p < k_end;) {
        const std::int64_t group_end =
            weight.group_size ? (p / weight.group_size + 1) * weight.group_size : k_end;
        const std::int64_t end = std::min(k_end, group_end);
        const Run run = gathered ? Run{gathered + j * from + (p - range.k0)}
                                 : run_at(weight, column * weight.n_stride + p);
        const std::int64_t scale = weight.per_tensor ? 0 : scale_row(weight, p) + column;
        restore(rows, weight, run, end - p, scale, 0, scratch + j * stride + (p - range.k0) * 2);
        p = end;
      }
    }
    kernel.pack_bt({scratch, stride, range.kc, columns, dst + j0 / kernel.nr * panel_stride_bytes,
                    panel_stride_bytes, 0});
  }
}

// The strips run along k, whatever the storage.
bool along_k(const Weight& weight) {
  return weight.nz_rows ? weight.nz_transposed : weight.k_is_adjacent();
}

}  // namespace

Weight weight_of(const ConstTensorRef& x2) {
  const int k = x2.rank() - 2, n = x2.rank() - 1;
  Weight weight;
  weight.stored = x2.dtype();
  weight.data = x2.data();
  if (x2.format() == Format::kFractalNz) {
    weight.nz_transposed = x2.fractal_nz_transposed();
    weight.nz_rows = round_up(x2.dim(weight.nz_transposed ? 1 : 0), FractalNz::kRowMultiple);
    return weight;
  }
  // An axis of extent 1 gets the stride that keeps "adjacent" unambiguous.
  weight.n_stride = x2.dim(n) == 1 && x2.stride(k) != 1 ? 1 : x2.stride(n);
  weight.k_stride = x2.dim(k) == 1 && x2.stride(n) != 1 ? 1 : x2.stride(k);
  return weight;
}

std::int64_t pack_scratch_bytes(const Kernel& kernel, const Weight& weight, std::int64_t kc,
                                std::int64_t nc) {
  if (weight.packed) return 0;
  const bool columns = along_k(weight);
  if (weight.stored == kernel.b) {
    if (weight.is_scattered()) return kScatteredRows * gathered_stride(weight, nc);
    if (!weight.nz_rows) return 0;
    return columns ? kernel.nr * kNzColumnStride : kNzRows * kNzRowBytes;
  }
  const std::int64_t rows = columns ? kernel.nr : kStripRows, length = columns ? kc : nc;
  return rows *
         (restored_stride(length) + (is_gathered(weight) ? gathered_stride(weight, length) : 0));
}

void pack_block(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                const BlockRange& range, std::byte* dst, std::int64_t panel_stride_bytes,
                std::byte* scratch) {
  const bool columns = along_k(weight);
  if (weight.stored != kernel.b)
    return (columns ? restore_and_pack_columns : restore_and_pack_rows)(
        kernel, rows, weight, range, dst, panel_stride_bytes, scratch);
  if (weight.nz_rows)
    return (columns ? gather_and_pack_columns : gather_and_pack_rows)(kernel, weight, range, dst,
                                                                      panel_stride_bytes, scratch);
  if (weight.is_scattered())
    return gather_and_pack_scattered(kernel, weight, range, dst, panel_stride_bytes, scratch);
  const std::int64_t size = info(kernel.b).bits / 8;
  const std::int64_t first = range.k0 * weight.k_stride + range.n0 * weight.n_stride;
  const std::int64_t stride = columns ? weight.n_stride : weight.k_stride;
  (columns ? kernel.pack_bt : kernel.pack_b)({element(weight.data, kernel.b, first), stride * size,
                                              range.kc, range.nc, dst, panel_stride_bytes, 0});
}

}  // namespace weft::gemm
