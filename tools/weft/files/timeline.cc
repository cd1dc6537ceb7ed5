// SPDX-License-Identifier: Apache-2.0
#include "files/timeline.h"

#include <algorithm>
#include <limits>

#include "files/json.h"

namespace weft::tools {

std::int64_t Timeline::begin_ns() const {
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  for (const Lane& lane : lanes)
    for (const TraceEvent& event : lane.events) begin = std::min(begin, event.begin_ns);
  return begin == std::numeric_limits<std::int64_t>::max() ? 0 : begin;
}

std::int64_t Timeline::end_ns() const {
  std::int64_t end = begin_ns();
  for (const Lane& lane : lanes)
    for (const TraceEvent& event : lane.events) end = std::max(end, event.end_ns);
  return end;
}

std::string chrome_trace(const Timeline& timeline) {
  const std::int64_t start = timeline.begin_ns();
  // The format counts in microseconds.
  const auto us = [](std::int64_t ns) { return 1e-3 * static_cast<double>(ns); };
  const auto name_of = [](const char* what, int tid, const std::string& name) {
    return Json::object({{"ph", "M"},
                         {"pid", 0},
                         {"tid", tid},
                         {"name", what},
                         {"args", Json::object({{"name", name}})}});
  };
  Json events = Json::list({name_of("process_name", 0, timeline.title)});
  for (const Timeline::Lane& lane : timeline.lanes) {
    events.push(name_of("thread_name", lane.rank, "rank " + std::to_string(lane.rank)));
    for (const TraceEvent& event : lane.events) {
      Json args = Json::object();
      if (event.tile >= 0) args.set("tile", event.tile);
      if (event.peer >= 0) args.set("peer", event.peer);
      events.push(Json::object({{"ph", "X"},
                                {"pid", 0},
                                {"tid", lane.rank},
                                {"name", weft::to_string(event.kind)},
                                {"cat", "weft"},
                                {"ts", us(event.begin_ns - start)},
                                {"dur", us(event.end_ns - event.begin_ns)},
                                {"args", args}}));
    }
  }
  return Json::object({{"traceEvents", events}, {"displayTimeUnit", "ms"}}).text() + "\n";
}

}  // namespace weft::tools
