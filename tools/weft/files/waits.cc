// SPDX-License-Identifier: Apache-2.0
#include "files/waits.h"

#include <fmt/core.h>

#include <algorithm>

#include "terminal/text.h"

namespace weft::tools {
namespace {

// Wider tables do not fit a terminal.
constexpr int kMostColumns = 16;

std::string cell(double ms) { return ms > 0 ? fmt::format("{:.2f}", ms) : "0"; }

}  // namespace

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

std::string Waits::text() const { return ranks_ <= kMostColumns ? matrix_text() : longest_text(); }

std::string Waits::matrix_text() const {
  std::vector<std::string> head = {"waits in ms, for rank"};
  for (int peer = 0; peer < ranks_; ++peer) head.push_back(fmt::format("{}", peer));
  head.insert(head.end(), {"no one rank", "all"});
  Table table(std::move(head));
  for (int rank = 0; rank < ranks_; ++rank) {
    std::vector<std::string> row = {fmt::format("  of rank {}", rank)};
    for (int peer = 0; peer < ranks_; ++peer) row.push_back(cell(ms(rank, peer)));
    row.insert(row.end(), {cell(ms(rank, -1)), cell(total_ms(rank))});
    table.add(std::move(row));
  }
  return table.text();
}

std::string Waits::longest_text() const {
  Table table({"waits in ms", "all", "most for rank", "of it"});
  for (int rank = 0; rank < ranks_; ++rank) {
    int most = 0;
    for (int peer = 1; peer < ranks_; ++peer)
      if (ms(rank, peer) > ms(rank, most)) most = peer;
    const bool any = ms(rank, most) > 0;
    table.add({fmt::format("  of rank {}", rank), cell(total_ms(rank)),
               any ? fmt::format("{}", most) : "none", cell(ms(rank, most))});
  }
  return table.text();
}

}  // namespace weft::tools
