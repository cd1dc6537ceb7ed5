// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/pack_rows.h"

#include <algorithm>
#include <cstring>

#include "base/memory.h"
#include "kernels/gemm/batch.h"

namespace weft::gemm {
namespace {

// Row i of a product: its place in memory, and how many rows from there on are one stride apart.
struct PlacedRows {
  const std::byte* address;
  std::int64_t count;
};
PlacedRows place_of(const RowSource& a, const Product& product, std::int64_t i) {
  const RowRun* run = product.runs.data();
  for (; i >= run->count(); ++run) i -= run->count();
  const std::int64_t row = run->begin + i;
  return {a.data + a.offsets[row], std::min(run->end - row, a.offsets.run(row))};
}

// Rows [row, row + m) of a product as one strided block with adjacent k, brought together in
// `gather` if they are not one.
PackA one_block(const Batch& batch, const Product& product, std::int64_t row, int m,
                std::byte* gather) {
  const RowSource& a = batch.a;
  const std::int64_t k = batch.k, size = info(batch.kernel->a).bits / 8;
  const PlacedRows first = place_of(a, product, row);
  if (a.k_stride == 1 && m <= first.count)
    return {first.address, a.offsets.stride_bytes(), m, k, nullptr};
  for (int i = 0; i < m; ++i) {
    const std::byte* from = place_of(a, product, row + i).address;
    std::byte* to = gather + i * k * size;
    if (a.k_stride == 1) {
      std::memcpy(to, from, static_cast<size_t>(k * size));
    } else {
      for (std::int64_t p = 0; p < k; ++p)
        std::memcpy(to + p * size, from + p * a.k_stride * size, static_cast<size_t>(size));
    }
  }
  return {gather, k * size, m, k, nullptr};
}

}  // namespace

std::int64_t gather_bytes(const Kernel& kernel, std::int64_t k) {
  return round_up(std::max(kernel.mr, kernel.narrow.rows) * k * info(kernel.a).bits / 8, 4096);
}

std::int64_t row_parts(const Kernel& kernel, const Product& product) {
  return product.narrow ? 1 : ceil_div(product.m, kernel.mr);
}

void pack_rows(const Batch& batch, const Product& product, std::int64_t part, std::byte* gather) {
  const Kernel& kernel = *batch.kernel;
  const std::int64_t row = part * kernel.mr;
  const std::int64_t m =
      product.narrow ? product.m : std::min<std::int64_t>(kernel.mr, product.m - row);
  PackA pack = one_block(batch, product, row, static_cast<int>(m), gather);
  pack.dst = product.packed + part * kernel.a_panel_bytes(batch.k);
  (product.narrow ? kernel.narrow.pack_x : kernel.pack_a)(pack);
}

}  // namespace weft::gemm
