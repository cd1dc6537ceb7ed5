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

void Wire::sum(const void* const* partials, int ranks, std::byte* to) const {
  if (int8_)
    rows_->requant_row({partials, ranks, n_, ratio(), to, rows::Store::kPlain});
  else
    rows_->sum_rows({partials, ranks, n_, to, rows::Store::kPlain});
}

void Wire::publish(const std::byte* row, std::byte* to) const {
  const void* const rows[] = {row};
  if (int8_)
    std::memcpy(to, row, static_cast<size_t>(n_));
  else
    rows_->sum_rows({rows, 1, n_, to, rows::Store::kStream});  // a sum of one is a copy
}

const std::byte* Wire::decoded(const std::byte* row, std::byte* scratch) const {
  if (!int8_) return row;
  decode(row, scratch, rows::Store::kPlain);
  return scratch;
}

void Wire::decode(const std::byte* row, std::byte* to, rows::Store store) const {
  const void* const rows[] = {row};
  if (int8_)
    rows_->dequant_row({row, n_, scale_2(), to, store});
  else
    rows_->sum_rows({rows, 1, n_, to, store});  // a sum of one is a copy
}

}  // namespace weft::ops
