// SPDX-License-Identifier: Apache-2.0
// Few rows against a weight with adjacent k, which is then read in place and once: the same bits as
// the blocked product.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/weight.h"

namespace weft::gemm {

struct Batch;

/// Whether a product of m rows can be taken this way.
bool narrow_applies(const Kernel& kernel, const Weight& weight, std::int64_t m);

/// What it needs; with more, scales of groups are read faster.
std::int64_t narrow_scratch_bytes(const Kernel& kernel, int sides);

/// Columns [begin, end) (of each side) of one product. False: a value needs the blocked product
/// (gemm.h), which is then to be made of all columns.
struct ColumnsOf {
  std::int64_t product;
  std::int64_t begin, end;
};
bool multiply_narrow(const Batch& batch, const ColumnsOf& columns, std::byte* scratch);

}  // namespace weft::gemm
