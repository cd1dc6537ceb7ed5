// SPDX-License-Identifier: Apache-2.0
// Few rows against a weight that has an adjacent axis: it is read in place and once, in panels of
// columns or in strips of whole rows, with the bits of the blocked product.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/weight.h"

namespace weft::gemm {

struct Batch;

/// Whether a product of m rows can be taken this way. `second_side`: the column where it begins.
bool narrow_applies(const Kernel& kernel, const Weight& weight, std::int64_t m,
                    std::int64_t second_side = 0);

/// How the columns are best cut for several threads: in multiples of so many, in so many turns of
/// each thread so that all end together. Long pieces of whole rows are faster than short ones.
std::int64_t narrow_unit(const Kernel& kernel, const Weight& weight);
int narrow_turns(const Weight& weight);

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
