// SPDX-License-Identifier: Apache-2.0
// The --trace and --timeline options, and the numbers that run, bench and demo print alike.
#pragma once

#include <string>
#include <vector>

#include "files/json.h"
#include "files/waits.h"
#include "jobs/job.h"
#include "terminal/command_line.h"

namespace weft::tools {

struct TraceFiles {
  std::string trace, timeline;
  bool wanted() const { return !trace.empty() || !timeline.empty(); }
};
void add_trace_options(Command& command, TraceFiles& files);
/// Refuses now what could not be written after a long run.
Status check_trace_files(const TraceFiles& files);
/// Writes what was asked for, of the last call of a job that traced.
Status write_trace_files(const TraceFiles& files, const Operator& op, const LaunchOptions& launch,
                         const std::vector<RankReport>& reports);
/// A row for each rank and a column for each that it waited for; with more than 16 ranks the one
/// that each waited for most.
std::string waits_text(const Waits& waits);
/// Of the last call of a job that traced.
std::string waits_text(const std::vector<RankReport>& reports);

Json job_json(const Operator& op, const LaunchOptions& launch,
              const std::vector<RankReport>& reports);
/// What all ranks do in a second, when a call takes so long: "1.2 TFLOP/s", or "12.3 GB/s" of an
/// operator without a product.
std::string rate_text(const std::vector<RankReport>& reports, double seconds);

}  // namespace weft::tools
