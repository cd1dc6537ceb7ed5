// SPDX-License-Identifier: Apache-2.0
#include "files/waits.h"

#include <algorithm>

namespace weft::tools {

Waits::Waits(const Timeline& timeline) {
  for (const Timeline::Lane& lane : timeline.lanes) {
    ranks_ = std::max(ranks_, lane.rank + 1);
    for (const TraceEvent& event : lane.events) ranks_ = std::max(ranks_, event.peer + 1);
  }
  ms_.resize(static_cast<std::size_t>(ranks_) * static_cast<std::size_t>(ranks_ + 1));
  for (const Timeline::Lane& lane : timeline.lanes)
    for (const TraceEvent& event : lane.events)
      if (event.kind == TraceKind::kWait)
        ms_[index(lane.rank, event.peer)] +=
            1e-6 * static_cast<double>(event.end_ns - event.begin_ns);
}

double Waits::total_ms(int rank) const {
  double sum = 0;
  for (int peer = -1; peer < ranks_; ++peer) sum += ms(rank, peer);
  return sum;
}

double Waits::most_ms() const { return ms_.empty() ? 0 : *std::ranges::max_element(ms_); }

}  // namespace weft::tools
