// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/run.h"

namespace weft::ops {

using tile::Collective;
using tile::Layout;
using tile::TileComm;

namespace {

// Block s is the same slice of every part. It passes two stages, one step apart: a rank has put
// into its window what the others need of it; has taken what it needs of them.
class ExchangeRun {
 public:
  ExchangeRun(CollectiveRun& run, const Layout& layout, const Parts& out, const Parts& in,
              const Reducer* reducer)
      : run_(run),
        tiles_(run.group(), layout, CollectiveRun::kData),
        layout_(layout),
        out_(out),
        in_(in),
        reducer_(reducer) {
    std::int64_t bytes = 0;
    for (int r = 0; r < run.ranks(); ++r) bytes += in.bytes(r);
    stream_ = bytes >= kStreamBytes;
  }

  Status run() {
    return run_.in_two_stages(
        tiles_, layout_, [this](std::int64_t s) { return offer(s); },
        [this](std::int64_t s) { return reducer_ ? take_reduced(s) : take(s); });
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
    const auto source = [&](int from) -> const std::byte* {
      return from == run_.rank() ? out_.at(from) + begin(s) : slot(s, from, run_.rank());
    };
    return run_.take_parts(tiles_, s, in_, begin(s), end(s), source, stream_);
  }

  Status take_reduced(std::int64_t s) {
    const int rank = run_.rank();
    const std::span<std::byte> to = in_.slice(rank, begin(s), end(s));
    if (to.empty()) return {};
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
    run_.reduce(
        *reducer_, out_.at(rank) + begin(s), [&](int r) { return slot(s, r, rank); }, to, stream_);
    return {};
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const Layout& layout_;
  bool stream_;
  const Parts &out_, &in_;
  const Reducer* const reducer_;
};

}  // namespace

Status CollectiveRun::exchange(const Parts& out, const Parts& in, std::int64_t longest,
                               const Reducer* reducer) {
  if (longest == 0) return group_.check_peers();
  const std::int64_t rows = ceil_div(longest, kRow);
  // Of every part at least a page a time, however many ranks there are.
  const std::int64_t tile = std::max<std::int64_t>(kBlockBytes / ranks(), 4096) / kRow;
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        this->layout(Collective::kReduceScatter, rows * ranks(),
                                     longest * (ranks() - 1), tile * ranks()));
  return ExchangeRun(*this, layout, out, in, reducer).run();
}

}  // namespace weft::ops
