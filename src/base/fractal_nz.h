// SPDX-License-Identifier: Apache-2.0
// FRACTAL_NZ: the tiled order in which CANN keeps weights. The columns of a matrix are cut into
// chunks of 32 bytes; a chunk holds all rows, 32 bytes each, one after the other. Rows are rounded
// up to 16 and columns to whole chunks.
#pragma once

#include <cstdint>

#include "base/memory.h"
#include "weft/dtype.h"

namespace weft {

/// Where the elements of a (rows, columns) matrix lie in its image.
struct FractalNz {
  static constexpr std::int64_t kChunkBytes = 32;
  static constexpr std::int64_t kRowMultiple = 16;

  std::int64_t c0;      ///< columns of a chunk
  std::int64_t rows;    ///< of a chunk, padding included
  std::int64_t chunks;  ///< of the image

  FractalNz(DType dtype, std::int64_t matrix_rows, std::int64_t columns)
      : c0(kChunkBytes * 8 / info(dtype).bits),
        rows(round_up(matrix_rows, kRowMultiple)),
        chunks(ceil_div(columns, c0)) {}
  std::int64_t elements() const { return chunks * rows * c0; }
  std::int64_t bytes() const { return chunks * rows * kChunkBytes; }
  std::int64_t index(std::int64_t i, std::int64_t j) const {
    return (j / c0 * rows + i) * c0 + j % c0;
  }
};

}  // namespace weft
