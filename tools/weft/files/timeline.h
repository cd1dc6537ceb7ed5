// SPDX-License-Identifier: Apache-2.0
// What every rank did when, as a picture and as a Chrome trace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weft/trace.h"

namespace weft::tools {

struct Timeline {
  std::string title, subtitle;
  struct Lane {
    int rank;
    std::vector<TraceEvent> events;
  };
  std::vector<Lane> lanes;

  std::int64_t begin_ns() const;  ///< of the first event
  std::int64_t end_ns() const;
};

/// JSON for chrome://tracing and ui.perfetto.dev: one track per rank.
std::string chrome_trace(const Timeline& timeline);

/// 1200 pixels wide, one lane per rank, a colour per kind, milliseconds from the first event;
/// below, who waited for whom, with up to 128 ranks.
std::string timeline_svg(const Timeline& timeline);

}  // namespace weft::tools
