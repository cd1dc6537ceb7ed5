// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/run.h"

namespace weft::ops {

using tile::Collective;
using tile::Layout;
using tile::Pattern;
using tile::TileComm;

namespace {

// Block s passes three stages, one step apart: a rank has put into its window what the others
// reduce; has reduced its own tile and published it; has read the tiles of the others.
class AllReduceRun {
 public:
  AllReduceRun(CollectiveRun& run, const Layout& layout, const void* send, void* recv,
               std::int64_t bytes, const Reducer& reducer)
      : run_(run),
        tiles_(run.group(), layout),
        stream_(bytes >= kStreamBytes),
        send_(static_cast<const std::byte*>(send)),
        recv_(static_cast<std::byte*>(recv)),
        bytes_(bytes),
        reducer_(reducer) {}

  Status run() {
    const std::int64_t blocks = tiles_.grid().super_blocks();
    for (std::int64_t s = 0; s < blocks + 2; ++s) {
      if (s < blocks) WEFT_RETURN_IF_ERROR(offer(s));
      if (s >= 1 && s - 1 < blocks) WEFT_RETURN_IF_ERROR(reduce(s - 1));
      if (s >= 2) WEFT_RETURN_IF_ERROR(finish(s - 2));
    }
    return {};
  }

 private:
  struct Range {
    std::int64_t row, begin, bytes;
  };
  Range tile_of(std::int64_t s, int owner) const {
    const tile::Rows rows = tiles_.grid().tile(s, owner);
    const std::int64_t begin = std::min(bytes_, rows.begin * CollectiveRun::kRow);
    const std::int64_t end = std::min(bytes_, rows.end * CollectiveRun::kRow);
    return {rows.begin, begin, end - begin};
  }

  Status offer(std::int64_t s) {
    WEFT_RETURN_IF_ERROR(tiles_.acquire(s));
    for (int i = 1; i < run_.ranks(); ++i) {
      const Range tile = tile_of(s, run_.after(i));
      run_.copy(send_ + tile.begin, tiles_.partial(s, run_.rank(), tile.row), tile.bytes, false);
    }
    tiles_.publish_partials(s);
    return {};
  }

  Status reduce(std::int64_t s) {
    if (s == 0) WEFT_RETURN_IF_ERROR(run_.group().check_peers());
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
    const Range own = tile_of(s, run_.rank());
    std::byte* const published = tiles_.reduced(s, run_.rank(), own.row);
    const auto partial = [&](int r) -> const std::byte* { return tiles_.partial(s, r, own.row); };
    run_.reduce(reducer_, send_ + own.begin, partial,
                {published, static_cast<std::size_t>(own.bytes)}, false);
    run_.copy(published, recv_ + own.begin, own.bytes, stream_);
    tiles_.publish_reduced(s);
    return {};
  }

  Status finish(std::int64_t s) {
    for (int i = 1; i < run_.ranks(); ++i) {
      const int owner = run_.after(i);
      WEFT_RETURN_IF_ERROR(tiles_.wait_reduced(s, owner));
      const Range tile = tile_of(s, owner);
      run_.copy(tiles_.reduced(s, owner, tile.row), recv_ + tile.begin, tile.bytes, stream_);
    }
    tiles_.consumed(s);
    return {};
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const bool stream_;
  const std::byte* const send_;
  std::byte* const recv_;
  const std::int64_t bytes_;
  const Reducer& reducer_;
};

}  // namespace

// With few ranks or bytes everybody combines everything: two ranks read and write as much as if
// they shared the work, and wait for each other only once a block.
Status CollectiveRun::allreduce(const void* send, void* recv, std::int64_t bytes,
                                const Reducer& reducer) {
  if (ranks() <= 2 || bytes * (ranks() - 1) <= kOneShotBytes)
    return gather({static_cast<const std::byte*>(send), static_cast<std::size_t>(bytes)},
                  Parts::only(0, recv, bytes), bytes, &reducer);
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        Layout::make(Collective::kAllReduce, Pattern::kRing, ceil_div(bytes, kRow),
                                     ranks(), kRow, kBlockBytes / kRow, group_.window_bytes()));
  return AllReduceRun(*this, layout, send, recv, bytes, reducer).run();
}

}  // namespace weft::ops
