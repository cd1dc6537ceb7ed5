// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/run.h"

namespace weft::ops {

using tile::Layout;
using tile::Pattern;

Result<Layout> CollectiveRun::layout(tile::Collective collective, std::int64_t rows,
                                     std::int64_t read_bytes, std::int64_t block_rows) const {
  const bool one_shot =
      read_bytes <= kOneShotBytes && rows * kRow <= tile::one_shot_bytes(group_.window_bytes());
  return Layout::make(collective, one_shot ? Pattern::kOneShot : Pattern::kRing, rows, ranks(),
                      kRow, block_rows, group_.window_bytes());
}

void CollectiveRun::copy(const void* from, void* to, std::int64_t bytes, bool stream) {
  if (from == to) return;
  for_pieces(bytes, [&](std::int64_t begin, std::int64_t size) {
    copy_(static_cast<const std::byte*>(from) + begin, static_cast<std::byte*>(to) + begin, size,
          stream);
    if (stream) reduction::stream_fence();
  });
}

}  // namespace weft::ops
