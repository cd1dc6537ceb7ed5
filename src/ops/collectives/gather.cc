// SPDX-License-Identifier: Apache-2.0
#include "ops/collectives/run.h"

namespace weft::ops {

using tile::Collective;
using tile::Layout;
using tile::TileComm;

namespace {

// Like an exchange in which all that a rank sends is the same memory, which the others copy or,
// with a reducer, combine with their own into part 0 of `in`.
class GatherRun {
 public:
  GatherRun(CollectiveRun& run, const Layout& layout, std::span<const std::byte> own,
            const Parts& in, std::int64_t longest, const Reducer* reducer)
      : run_(run),
        tiles_(run.group(), layout, CollectiveRun::kData),
        layout_(layout),
        stream_(longest >= kStreamBytes / (reducer ? 1 : run.ranks())),
        own_(own),
        in_(in),
        reducer_(reducer) {}

  Status run() {
    return run_.in_two_stages(
        tiles_, layout_, [this](std::int64_t s) { return offer(s); },
        [this](std::int64_t s) { return reducer_ ? take_reduced(s) : take(s); });
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
    const auto source = [&](int from) -> const std::byte* {
      return from == run_.rank() ? own_.data() + begin(s) : slot(s, from);
    };
    return run_.take_parts(tiles_, s, in_, begin(s), end(s), source, stream_);
  }

  Status take_reduced(std::int64_t s) {
    WEFT_RETURN_IF_ERROR(tiles_.wait_partials(s));
    run_.reduce(
        *reducer_, own_.data() + begin(s), [&](int r) { return slot(s, r); },
        in_.slice(0, begin(s), end(s)), stream_);
    return {};
  }

  CollectiveRun& run_;
  TileComm tiles_;
  const Layout& layout_;
  const bool stream_;
  const std::span<const std::byte> own_;
  const Parts& in_;
  const Reducer* const reducer_;
};

}  // namespace

Status CollectiveRun::gather(std::span<const std::byte> own, const Parts& in, std::int64_t longest,
                             const Reducer* reducer) {
  if (longest == 0) return group_.check_peers();
  WEFT_ASSIGN_OR_RETURN(const Layout layout,
                        this->layout(Collective::kAllGather, ceil_div(longest, kRow),
                                     longest * (ranks() - 1), kBlockBytes / kRow));
  return GatherRun(*this, layout, own, in, longest, reducer).run();
}

}  // namespace weft::ops
