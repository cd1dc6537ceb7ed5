// SPDX-License-Identifier: Apache-2.0
#include "files/timeline.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

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
  using nlohmann::json;
  const std::int64_t start = timeline.begin_ns();
  // The format counts in microseconds.
  const auto us = [](std::int64_t ns) { return 1e-3 * static_cast<double>(ns); };
  json events = json::array();
  events.push_back({{"ph", "M"},
                    {"pid", 0},
                    {"tid", 0},
                    {"name", "process_name"},
                    {"args", {{"name", timeline.title}}}});
  for (const Timeline::Lane& lane : timeline.lanes) {
    events.push_back({{"ph", "M"},
                      {"pid", 0},
                      {"tid", lane.rank},
                      {"name", "thread_name"},
                      {"args", {{"name", "rank " + std::to_string(lane.rank)}}}});
    for (const TraceEvent& event : lane.events) {
      json args = json::object();
      if (event.tile >= 0) args["tile"] = event.tile;
      if (event.peer >= 0) args["peer"] = event.peer;
      events.push_back({{"ph", "X"},
                        {"pid", 0},
                        {"tid", lane.rank},
                        {"name", weft::to_string(event.kind)},
                        {"cat", "weft"},
                        {"ts", us(event.begin_ns - start)},
                        {"dur", us(event.end_ns - event.begin_ns)},
                        {"args", std::move(args)}});
    }
  }
  return json{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}}.dump() + "\n";
}

}  // namespace weft::tools
