// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/run.h"

#include <fmt/format.h>

#include "comm/options.h"

namespace weft::ops {

using internal::CounterId;
using tile::Collective;
using tile::Layout;
using tile::Pattern;
using tile::TileComm;

namespace {

// What a rank puts into its window at a time. Small enough that its peers read from a cache what it
// wrote; large enough that the hand-off, about a microsecond, is little beside the copy.
constexpr std::int64_t kBlockBytes = 256 << 10;

// Up to this many bytes that a rank reads of others, saving a hand-off is worth more than splitting
// the work.
constexpr std::int64_t kOneShotBytes = 256 << 10;

// What a thread takes at a time: a sum that goes to two places is still in the first-level cache.
constexpr std::int64_t kPieceBytes = 16 << 10;

// Outputs from here on do not fit the caches in which their readers would look, so they go past
// them and save reading the memory they overwrite.
constexpr std::int64_t kStreamBytes = 4 << 20;

constexpr std::string_view kData = "the data";

}  // namespace

Result<Layout> CollectiveRun::layout(Collective collective, std::int64_t rows,
                                     std::int64_t read_bytes, std::int64_t block_rows) const {
  const bool one_shot = read_bytes <= kOneShotBytes && rows * kRow <= Layout::kOneShotBytes &&
                        Layout::one_shot_fits(group_.window_bytes());
  return Layout::make(collective, one_shot ? Pattern::kOneShot : Pattern::kRing, rows, ranks(),
                      kRow, block_rows, group_.window_bytes());
}

template <typename Body>
void CollectiveRun::for_pieces(std::int64_t bytes, const Body& body) {
  context_.pool.parallel_for(ceil_div(bytes, kPieceBytes), [&](std::int64_t piece, int) {
    const std::int64_t begin = piece * kPieceBytes;
    body(begin, std::min(kPieceBytes, bytes - begin));
  });
}

void CollectiveRun::copy(const void* from, void* to, std::int64_t bytes, bool stream) {
  if (from == to) return;
  for_pieces(bytes, [&](std::int64_t begin, std::int64_t size) {
    copy_(static_cast<const std::byte*>(from) + begin, static_cast<std::byte*>(to) + begin, size,
          stream);
    if (stream) reduction::stream_fence();
  });
}

// Block s passes three stages, one step apart: a rank has put into its window what the others
// reduce; has reduced its own tile and published it; has read the tiles of the others.
class AllReduceRun {
 public:
  AllReduceRun(CollectiveRun& run, const Layout& layout, const void* send, void* recv,
               std::int64_t bytes, const Reducer& reduce)
      : run_(run),
        tiles_(run.group_, layout),
        stream_(bytes >= kStreamBytes),
        send_(static_cast<const std::byte*>(send)),
        recv_(static_cast<std::byte*>(recv)),
        bytes_(bytes),
        reduce_(reduce) {}

  Status ring() {
    const std::int64_t blocks = tiles_.grid().super_blocks();
    for (std::int64_t s = 0; s < blocks + 2; ++s) {
      if (s < blocks) WEFT_RETURN_IF_ERROR(offer(s));
      if (s >= 1 && s - 1 < blocks) WEFT_RETURN_IF_ERROR(reduce(s - 1));
      if (s >= 2) WEFT_RETURN_IF_ERROR(finish(s - 2));
    }
    return {};
  }

  Status one_shot() {
    run_.copy(send_, tiles_.partial(0, run_.rank(), 0), bytes_, false);
    tiles_.publish_partials(0);
    WEFT_RETURN_IF_ERROR(run_.group_.check_peers());
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(0));
    run_.for_pieces(bytes_, [&](std::int64_t begin, std::int64_t size) {
      reduce_piece(0, begin, size, recv_ + begin);
    });
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
    if (s == 0) WEFT_RETURN_IF_ERROR(run_.group_.check_peers());
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
    const Range own = tile_of(s, run_.rank());
    std::byte* const published = tiles_.reduced(s, run_.rank(), own.row);
    run_.for_pieces(own.bytes, [&](std::int64_t begin, std::int64_t size) {
      reduce_piece(s, own.begin + begin, size, published + begin);
      run_.copy_(published + begin, recv_ + own.begin + begin, size, stream_);
      if (stream_) reduction::stream_fence();
    });
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

  // This rank's own elements come from its buffer: they need not be in its window.
  void reduce_piece(std::int64_t s, std::int64_t begin, std::int64_t size, std::byte* to) const {
    const void* src[internal::kMaxRanks];
    const std::int64_t row = begin / CollectiveRun::kRow;
    for (int r = 0; r < run_.ranks(); ++r)
      src[r] = r == run_.rank() ? send_ + begin : tiles_.partial(s, r, row);
    reduce_(src, run_.ranks(), size, to, false);
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const bool stream_;
  const std::byte* const send_;
  std::byte* const recv_;
  const std::int64_t bytes_;
  const Reducer& reduce_;
};

Status CollectiveRun::allreduce(const void* send, void* recv, std::int64_t bytes,
                                const Reducer& reduce) {
  if (ranks() == 1) copy(send, recv, bytes, bytes >= kStreamBytes);
  if (ranks() == 1 || bytes == 0) return group_.check_peers();
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        this->layout(Collective::kAllReduce, ceil_div(bytes, kRow),
                                     bytes * (ranks() - 1), kBlockBytes / kRow));
  AllReduceRun run(*this, layout, send, recv, bytes, reduce);
  return layout.pattern == Pattern::kOneShot ? run.one_shot() : run.ring();
}

// Block s is the same slice of every part. It passes two stages, one step apart: a rank has put
// into its window what the others need of it; has taken what it needs of them.
class ExchangeRun {
 public:
  ExchangeRun(CollectiveRun& run, const Layout& layout, const Parts& out, const Parts& in,
              const Reducer* reduce)
      : run_(run),
        tiles_(run.group_, layout, kData),
        ring_(layout.pattern == Pattern::kRing),
        out_(out),
        in_(in),
        reduce_(reduce) {
    std::int64_t bytes = 0;
    for (int r = 0; r < run.ranks(); ++r) bytes += in.bytes(r);
    stream_ = bytes >= kStreamBytes;
  }

  Status run() {
    const std::int64_t blocks = tiles_.grid().super_blocks();
    for (std::int64_t s = 0; s < blocks + 1; ++s) {
      if (s < blocks) WEFT_RETURN_IF_ERROR(offer(s));
      if (s == 1) WEFT_RETURN_IF_ERROR(run_.group_.check_peers());
      if (s >= 1) WEFT_RETURN_IF_ERROR(reduce_ ? take_reduced(s - 1) : take(s - 1));
      if (s >= 1 && ring_) tiles_.consumed(s - 1);
    }
    return {};
  }

 private:
  /// Bytes within every part.
  std::int64_t begin(std::int64_t s) const {
    return tiles_.grid().tile(s, 0).begin * CollectiveRun::kRow;
  }
  std::int64_t end(std::int64_t s) const {
    return tiles_.grid().tile(s, 0).end * CollectiveRun::kRow;
  }
  std::byte* slot(std::int64_t s, int from, int to) const {
    return tiles_.partial(s, from, tiles_.grid().tile(s, to).begin);
  }

  Status offer(std::int64_t s) {
    bool acquired = false;
    for (int i = 1; i < run_.ranks(); ++i) {
      const int to = run_.after(i);
      const std::span<const std::byte> data = out_.slice(to, begin(s), end(s));
      if (data.empty()) continue;
      if (!acquired) WEFT_RETURN_IF_ERROR(tiles_.acquire(s));
      acquired = true;
      run_.copy(data.data(), slot(s, run_.rank(), to), std::ssize(data), false);
    }
    tiles_.publish_partials(s);
    return {};
  }

  Status take(std::int64_t s) {
    for (int i = 1; i <= run_.ranks(); ++i) {
      const int from = run_.after(i);
      const std::span<std::byte> to = in_.slice(from, begin(s), end(s));
      if (to.empty()) continue;
      const bool own = from == run_.rank();
      if (!own) WEFT_RETURN_IF_ERROR(tiles_.wait_partial(s, from));
      run_.copy(own ? out_.at(from) + begin(s) : slot(s, from, run_.rank()), to.data(),
                std::ssize(to), stream_);
    }
    return {};
  }

  Status take_reduced(std::int64_t s) {
    const int rank = run_.rank();
    const std::span<std::byte> to = in_.slice(rank, begin(s), end(s));
    if (to.empty()) return {};
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
    const std::byte* const own = out_.at(rank) + begin(s);
    run_.for_pieces(std::ssize(to), [&](std::int64_t at, std::int64_t size) {
      const void* src[internal::kMaxRanks];
      for (int r = 0; r < run_.ranks(); ++r) src[r] = (r == rank ? own : slot(s, r, rank)) + at;
      (*reduce_)(src, run_.ranks(), size, to.data() + at, stream_);
      if (stream_) reduction::stream_fence();
    });
    return {};
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const bool ring_;
  bool stream_;
  const Parts &out_, &in_;
  const Reducer* const reduce_;
};

Status CollectiveRun::exchange(const Parts& out, const Parts& in, std::int64_t longest,
                               const Reducer* reduce) {
  if (longest == 0) return group_.check_peers();
  const std::int64_t rows = ceil_div(longest, kRow);
  // Of every part at least a page a time, however many ranks there are.
  const std::int64_t tile = std::max<std::int64_t>(kBlockBytes / ranks(), 4096) / kRow;
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        this->layout(Collective::kReduceScatter, rows * ranks(),
                                     longest * (ranks() - 1), tile * ranks()));
  return ExchangeRun(*this, layout, out, in, reduce).run();
}

// Like an exchange in which all that a rank sends is the same memory.
class GatherRun {
 public:
  GatherRun(CollectiveRun& run, const Layout& layout, std::span<const std::byte> own,
            const Parts& in, std::int64_t longest)
      : run_(run),
        tiles_(run.group_, layout, kData),
        ring_(layout.pattern == Pattern::kRing),
        stream_(longest >= kStreamBytes / run.ranks()),
        own_(own),
        in_(in) {}

  Status run() {
    const std::int64_t blocks = tiles_.grid().super_blocks();
    for (std::int64_t s = 0; s < blocks + 1; ++s) {
      if (s < blocks) WEFT_RETURN_IF_ERROR(offer(s));
      if (s == 1) WEFT_RETURN_IF_ERROR(run_.group_.check_peers());
      if (s >= 1) WEFT_RETURN_IF_ERROR(take(s - 1));
      if (s >= 1 && ring_) tiles_.consumed(s - 1);
    }
    return {};
  }

 private:
  std::int64_t begin(std::int64_t s) const {
    return tiles_.grid().super_block(s).begin * CollectiveRun::kRow;
  }
  std::int64_t end(std::int64_t s) const {
    return tiles_.grid().super_block(s).end * CollectiveRun::kRow;
  }
  std::byte* slot(std::int64_t s, int rank) const {
    return tiles_.partial(s, rank, tiles_.grid().super_block(s).begin);
  }

  Status offer(std::int64_t s) {
    const std::int64_t bytes = std::min(end(s), std::ssize(own_)) - begin(s);
    if (bytes > 0) {
      WEFT_RETURN_IF_ERROR(tiles_.acquire(s));
      run_.copy(own_.data() + begin(s), slot(s, run_.rank()), bytes, false);
    }
    tiles_.publish_partials(s);
    return {};
  }

  Status take(std::int64_t s) {
    for (int i = 1; i <= run_.ranks(); ++i) {
      const int from = run_.after(i);
      const std::span<std::byte> to = in_.slice(from, begin(s), end(s));
      if (to.empty()) continue;
      const bool own = from == run_.rank();
      if (!own) WEFT_RETURN_IF_ERROR(tiles_.wait_partial(s, from));
      run_.copy(own ? own_.data() + begin(s) : slot(s, from), to.data(), std::ssize(to), stream_);
    }
    return {};
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const bool ring_, stream_;
  const std::span<const std::byte> own_;
  const Parts& in_;
};

Status CollectiveRun::gather(std::span<const std::byte> own, const Parts& in,
                             std::int64_t longest) {
  if (longest == 0) return group_.check_peers();
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        this->layout(Collective::kAllGather, ceil_div(longest, kRow),
                                     longest * (ranks() - 1), kBlockBytes / kRow));
  return GatherRun(*this, layout, own, in, longest).run();
}

// What is short travels before anybody knows how long the parts of the others are, one part after
// the other in the one-shot half of the window. When all have announced their counts it is known
// whether that was all; if not, the exchange begins anew, now that its blocks can be cut.
Status CollectiveRun::exchange_announced(const Parts& out, const Parts& in,
                                         std::int64_t element_bytes, std::string_view op) {
  const auto half = [&](int rank) {
    return group_.window(rank) +
           static_cast<std::int64_t>(group_.own(CounterId::kCall) & 1) * Layout::kOneShotBytes;
  };
  const auto is_short = [&](int rank) {
    return Layout::one_shot_fits(group_.window_bytes()) &&
           announced_bytes(rank, ranks(), element_bytes) <= kOneShotBytes;
  };
  if (is_short(rank()))
    for (int i = 1; i < ranks(); ++i)
      copy(out.at(after(i)), half(rank()) + announced_bytes(rank(), after(i), element_bytes),
           out.bytes(after(i)), false);
  const std::uint64_t published = group_.own(CounterId::kPartial) + 1;
  group_.publish(CounterId::kPartial, published);
  WEFT_RETURN_IF_ERROR(group_.check_peers());
  WEFT_RETURN_IF_ERROR(check_announced(op));
  bool all_short = true;
  for (int rank = 0; all_short && rank < ranks(); ++rank) all_short = is_short(rank);
  if (!all_short) return exchange(out, in, longest_announced() * element_bytes, nullptr);
  for (int i = 1; i <= ranks(); ++i) {
    const int from = after(i);
    const bool own = from == rank();
    if (in.bytes(from) == 0) continue;
    if (!own) WEFT_RETURN_IF_ERROR(group_.wait(from, CounterId::kPartial, published, {kData}));
    copy(own ? out.at(from) : half(from) + announced_bytes(from, rank(), element_bytes),
         in.at(from), in.bytes(from), false);
  }
  return {};
}

std::int64_t CollectiveRun::announced_bytes(int rank, int to, std::int64_t element_bytes) const {
  std::int64_t bytes = 0;
  for (int q = 0; q < to; ++q)
    if (q != rank) bytes += round_up(group_.announced(rank, q).to * element_bytes, kRow);
  return bytes;
}

std::int64_t CollectiveRun::longest_announced() const {
  std::int64_t longest = 0;
  for (int r = 0; r < ranks(); ++r)
    for (int q = 0; q < ranks(); ++q) longest = std::max(longest, group_.announced(r, q).to);
  return longest;
}

// Every rank looks at all pairs, so that all find the same difference, also ranks that have no part
// in it.
Status CollectiveRun::check_announced(std::string_view op) {
  for (int from = 0; from < ranks(); ++from)
    for (int to = 0; to < ranks(); ++to) {
      const std::int64_t sent = group_.announced(from, to).to;
      const std::int64_t expected = group_.announced(to, from).from;
      if (sent != expected)
        return group_.poison(
            Status(StatusCode::kMismatch,
                   fmt::format("{}: rank {} sends {} elements to rank {}, which expects {}. Give "
                               "both the same count and form a new group.",
                               op, from, sent, to, expected)));
    }
  return {};
}

}  // namespace weft::ops
