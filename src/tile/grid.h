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

/// Which rows belong to a rank.
enum class Deal {
  kWithinBlocks,  ///< super-blocks are consecutive rows, cut into one tile per rank
  kByRank,        ///< rank r owns the r-th part of all m rows; a super-block has a slice of each
};

class Grid {
 public:
  /// `wanted_rows` per super-block; the cut is evened out. kByRank: m is a multiple of ranks.
  Grid(Deal deal, std::int64_t m, int ranks, std::int64_t wanted_rows)
      : deal_(deal), m_(m), ranks_(ranks), super_blocks_(m ? ceil_div(m, wanted_rows) : 0) {}

  std::int64_t super_blocks() const { return super_blocks_; }
  /// The rows of super-block s, with kWithinBlocks.
  Rows super_block(std::int64_t s) const { return {cut(m_, s), cut(m_, s + 1)}; }
  /// The tile of `owner` within super-block s, in rows of the whole problem; may be empty.
  Rows tile(std::int64_t s, int owner) const {
    if (deal_ == Deal::kByRank)
      return {owner * part() + cut(part(), s), owner * part() + cut(part(), s + 1)};
    const Rows block = super_block(s);
    const std::int64_t rows = ceil_div(block.count(), ranks_);
    return {std::min(block.end, block.begin + owner * rows),
            std::min(block.end, block.begin + (owner + 1) * rows)};
  }
  /// Where `row` of super-block s lies among its rows: the tiles one after the other.
  std::int64_t place(std::int64_t s, std::int64_t row) const {
    if (deal_ == Deal::kWithinBlocks) return row - cut(m_, s);
    const std::int64_t owner = row / part();
    return owner * (cut(part(), s + 1) - cut(part(), s)) + row - owner * part() - cut(part(), s);
  }
  /// Most rows a super-block or a tile can have.
  std::int64_t max_super_block_rows() const {
    if (super_blocks_ == 0) return 0;
    return deal_ == Deal::kByRank ? ranks_ * max_tile_rows() : ceil_div(m_, super_blocks_);
  }
  std::int64_t max_tile_rows() const {
    return super_blocks_ ? ceil_div(ceil_div(m_, super_blocks_), ranks_) : 0;
  }

 private:
  std::int64_t part() const { return m_ / ranks_; }
  // Where super-block s begins among `rows` rows that are cut evenly.
  std::int64_t cut(std::int64_t rows, std::int64_t s) const { return rows * s / super_blocks_; }

  Deal deal_;
  std::int64_t m_;
  int ranks_;
  std::int64_t super_blocks_;
};

}  // namespace weft::tile
