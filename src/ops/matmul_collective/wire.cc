// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul_collective/wire.h"

#include <cstring>

namespace weft::ops {

Result<Wire> Wire::plan(ScratchPool& scratch, const rows::Kernels& rows, std::int64_t n,
                        const CommScales& scales) {
  Wire wire;
  wire.rows_ = &rows;
  wire.n_ = n;
  wire.int8_ = scales.scale_1.given();
  if (wire.int8_) {
    WEFT_ASSIGN_OR_RETURN(wire.scales_, scratch.reserve(ScratchFor::kWireScales, 3 * n * 4));
  }
  return wire;
}

void Wire::bind(const CommScales& scales) {
  if (!int8_) return;
  const auto widen = [&](const ConstTensorRef& scale, float* to) {
    const std::int64_t stride = n_ == 1 ? 0 : scale.stride(scale.rank() - 1) * 2;
    for (std::int64_t j = 0; j < n_; ++j)
      rows_->widen(static_cast<const std::byte*>(scale.data()) + j * stride, to + j, 1);
  };
  widen(scales.scale_1, scale_1());
  widen(scales.scale_2, scale_2());
  for (std::int64_t j = 0; j < n_; ++j) ratio()[j] = scale_1()[j] / scale_2()[j];
}

void Wire::finish(const ArrivedRow& row, std::byte* to, rows::Store store) const {
  if (!int8_) return rows_->sum_rows({row.parts, row.count, n_, to, store, row.published});
  const void* sum = row.parts[0];
  if (!row.is_sum) {
    rows_->requant_row({row.parts, row.count, n_, ratio(), row.scratch, rows::Store::kPlain});
    if (row.published) std::memcpy(row.published, row.scratch, static_cast<size_t>(n_));
    sum = row.scratch;
  }
  rows_->dequant_row({sum, n_, scale_2(), to, store});
}

}  // namespace weft::ops
