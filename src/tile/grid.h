// SPDX-License-Identifier: Apache-2.0
// Who owns which rows. The m rows are cut into super-blocks of about equal size; within a
// super-block every rank owns one tile (a panel of whole rows, because RMSNorm needs the row).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/memory.h"

namespace weft::tile {

struct Rows {
  std::int64_t begin, end;
  std::int64_t count() const { return end - begin; }
};

class Grid {
 public:
  /// `wanted_rows` per super-block; the cut is evened out, so no super-block has more than that.
  Grid(std::int64_t m, int ranks, std::int64_t wanted_rows)
      : m_(m), ranks_(ranks), super_blocks_(m ? ceil_div(m, wanted_rows) : 0) {}

  std::int64_t super_blocks() const { return super_blocks_; }
  Rows super_block(std::int64_t s) const {
    return {m_ * s / super_blocks_, m_ * (s + 1) / super_blocks_};
  }
  /// The tile of `owner` within super-block s, in rows of the whole problem; may be empty.
  Rows tile(std::int64_t s, int owner) const {
    const Rows block = super_block(s);
    const std::int64_t rows = tile_rows(block.count());
    return {std::min(block.end, block.begin + owner * rows),
            std::min(block.end, block.begin + (owner + 1) * rows)};
  }
  /// Most rows a super-block or a tile can have.
  std::int64_t max_super_block_rows() const {
    return super_blocks_ ? ceil_div(m_, super_blocks_) : 0;
  }
  std::int64_t max_tile_rows() const { return tile_rows(max_super_block_rows()); }

 private:
  // Tiles of equal size, the last ones short or empty.
  std::int64_t tile_rows(std::int64_t block_rows) const { return ceil_div(block_rows, ranks_); }

  std::int64_t m_;
  int ranks_;
  std::int64_t super_blocks_;
};

}  // namespace weft::tile
