// SPDX-License-Identifier: Apache-2.0
// The jobs that weft demo shows, one file each, and what they print alike.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include "commands/options.h"
#include "commands/output.h"

namespace weft::tools {

struct DemoArguments {
  std::string out = ".";
  LaunchArguments launch;
};

inline constexpr int kDemoRanks = 8;

Status demo_matmul(const DemoArguments& arguments);
Status demo_moe(const DemoArguments& arguments);

/// The ranks of a demo, and the files that it draws: `name`-trace.json, `name`-timeline.svg.
struct DemoSetup {
  LaunchOptions launch;
  TraceFiles files;
};
/// Makes the folder. Errors before a long run rather than after it.
Result<DemoSetup> set_up_demo(const DemoArguments& arguments, std::string_view name);

/// "[2/4] what" now, its duration when the step ends.
class DemoStep {
 public:
  DemoStep(int number, int steps, std::string_view what)
      : begin_(std::chrono::steady_clock::now()) {
    fmt::print("[{}/{}] {} ...\n", number, steps, what);
    std::fflush(stdout);
  }
  void done(std::string_view text) const {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin_;
    fmt::print("      {} ({:.1f} s)\n", text, took.count());
    std::fflush(stdout);
  }
  /// Where the timeline and the trace are.
  void drawn(const TraceFiles& files) const {
    done(fmt::format("wrote {} (open it in a browser)\n      and {} (open it in ui.perfetto.dev)",
                     files.timeline, files.trace));
  }

 private:
  std::chrono::steady_clock::time_point begin_;
};

}  // namespace weft::tools
