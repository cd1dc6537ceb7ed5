// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/weight.h"

#include <algorithm>

#include "base/memory.h"

namespace weft::gemm {
namespace {

// Weights are restored through a strip that stays in L1/L2: this many rows of k (row-major
// weights), or the columns of one panel (weights with adjacent k). 32 is a multiple of every
// floating-point k_step.
constexpr std::int64_t kStripRows = 32;

const std::byte* element(const void* base, DType dtype, std::int64_t index) {
  return static_cast<const std::byte*>(base) + index * info(dtype).bits / 8;
}

// Restores n adjacent weights from element `index` on.
void restore(const rows::Kernels& rows, const Weight& weight, std::int64_t index, std::int64_t n,
             std::int64_t scale_index, int step, std::byte* dst) {
  const DType type = rows.type;
  const bool int4 = weight.stored == DType::kInt4;
  rows::AntiquantRow args{};
  args.src = element(weight.data, weight.stored, index);
  args.src_nibble = int4 ? static_cast<int>(index & 1) : 0;
  args.n = n;
  args.scale = element(weight.scale, type, scale_index);
  args.offset = weight.offset ? element(weight.offset, type, scale_index) : nullptr;
  args.step = step;
  args.dst = dst;
  (int4 ? rows.antiquant_int4_row : rows.antiquant_int8_row)(args);
}

std::int64_t scale_row(const Weight& weight, std::int64_t p) {
  return weight.group_size ? p / weight.group_size * weight.n : 0;
}

// Row-major weights: strips of kStripRows rows across the whole block.
void restore_and_pack_rows(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                           const BlockRange& range, std::byte* dst, std::int64_t panel_stride_bytes,
                           std::byte* scratch) {
  const std::int64_t stride = round_up(range.nc * 2, kCacheLine);
  for (std::int64_t begin = 0; begin < range.kc; begin += kStripRows) {
    const std::int64_t count = std::min(kStripRows, range.kc - begin);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t p = range.k0 + begin + i;
      const std::int64_t scale = weight.per_tensor ? 0 : scale_row(weight, p) + range.n0;
      restore(rows, weight, p * weight.k_stride + range.n0, range.nc, scale,
              weight.per_tensor ? 0 : 1, scratch + i * stride);
    }
    kernel.pack_b({scratch, stride, count, range.nc, dst, panel_stride_bytes, begin});
  }
}

// Weights with adjacent k: one panel of columns at a time, each column in runs that share a scale.
void restore_and_pack_columns(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                              const BlockRange& range, std::byte* dst,
                              std::int64_t panel_stride_bytes, std::byte* scratch) {
  const std::int64_t stride = round_up(range.kc * 2, kCacheLine);
  const std::int64_t k_end = range.k0 + range.kc;
  for (std::int64_t j0 = 0; j0 < range.nc; j0 += kernel.nr) {
    const std::int64_t columns = std::min<std::int64_t>(kernel.nr, range.nc - j0);
    for (std::int64_t j = 0; j < columns; ++j) {
      const std::int64_t column = range.n0 + j0 + j;
      for (std::int64_t p = range.k0; p < k_end;) {
        const std::int64_t group_end =
            weight.group_size ? (p / weight.group_size + 1) * weight.group_size : k_end;
        const std::int64_t end = std::min(k_end, group_end);
        const std::int64_t scale = weight.per_tensor ? 0 : scale_row(weight, p) + column;
        restore(rows, weight, column * weight.n_stride + p, end - p, scale, 0,
                scratch + j * stride + (p - range.k0) * 2);
        p = end;
      }
    }
    kernel.pack_bt({scratch, stride, range.kc, columns, dst + j0 / kernel.nr * panel_stride_bytes,
                    panel_stride_bytes, 0});
  }
}

}  // namespace

std::int64_t pack_scratch_bytes(const Kernel& kernel, const Weight& weight, std::int64_t kc,
                                std::int64_t nc) {
  if (weight.packed || weight.stored == kernel.b) return 0;
  if (weight.k_is_adjacent()) return kernel.nr * round_up(kc * 2, kCacheLine);
  return kStripRows * round_up(nc * 2, kCacheLine);
}

void pack_block(const Kernel& kernel, const rows::Kernels& rows, const Weight& weight,
                const BlockRange& range, std::byte* dst, std::int64_t panel_stride_bytes,
                std::byte* scratch) {
  if (weight.stored != kernel.b) {
    const auto restore_and_pack =
        weight.k_is_adjacent() ? restore_and_pack_columns : restore_and_pack_rows;
    return restore_and_pack(kernel, rows, weight, range, dst, panel_stride_bytes, scratch);
  }
  const std::int64_t size = info(kernel.b).bits / 8;
  const std::int64_t first = range.k0 * weight.k_stride + range.n0 * weight.n_stride;
  const std::int64_t stride = weight.k_is_adjacent() ? weight.n_stride : weight.k_stride;
  (weight.k_is_adjacent() ? kernel.pack_bt
                          : kernel.pack_b)({element(weight.data, kernel.b, first), stride * size,
                                            range.kc, range.nc, dst, panel_stride_bytes, 0});
}

}  // namespace weft::gemm
