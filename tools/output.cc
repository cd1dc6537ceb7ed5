// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <fmt/format.h>

#include "file_io.h"
#include "options.h"
#include "text.h"
#include "timeline.h"

namespace weft::tools {
namespace {

std::string_view transport(const LaunchOptions& launch) {
  return launch.kind == RankKind::kThreads ? "threads" : "processes";
}

/// "m 4096, k 1024 per rank, n 8192", or the list of k when they differ.
std::string extents(const std::vector<RankReport>& reports) {
  std::string k;
  bool equal = true;
  for (const RankReport& report : reports) {
    k += fmt::format("{}{}", k.empty() ? "" : ", ", report.k);
    equal = equal && report.k == reports[0].k;
  }
  if (equal) k = fmt::format("{} per rank", reports[0].k);
  return fmt::format("m {}, k {}, n {}", reports[0].m, k, reports[0].n);
}

}  // namespace

void add_trace_options(CLI::App& command, TraceFiles& files) {
  command
      .add_option("--trace", files.trace,
                  "Write what every rank did when, as a Chrome trace (ui.perfetto.dev)")
      ->type_name("FILE.json");
  command.add_option("--timeline", files.timeline, "The same as a picture")->type_name("FILE.svg");
}

Status check_trace_files(const TraceFiles& files) {
  for (const std::string& path : {files.trace, files.timeline})
    if (!path.empty()) WEFT_RETURN_IF_ERROR(write_text_file(path, ""));
  return {};
}

Status write_trace_files(const TraceFiles& files, const LaunchOptions& launch,
                         const std::vector<RankReport>& reports) {
  if (!files.wanted()) return {};
  const double seconds = call_seconds(reports).back();
  const std::string title =
      fmt::format("{}, {} ranks: {}", kOperator, launch.ranks, seconds_text(seconds));
  const std::string subtitle =
      fmt::format("{}, {}; ranks are {}, {} thread(s) each; one call", extents(reports),
                  weft::to_string(reports[0].io), transport(launch), reports[0].threads);
  const Timeline timeline = make_timeline(reports, title, subtitle);
  if (!files.trace.empty())
    WEFT_RETURN_IF_ERROR(write_text_file(files.trace, chrome_trace(timeline)));
  if (!files.timeline.empty())
    WEFT_RETURN_IF_ERROR(write_text_file(files.timeline, timeline_svg(timeline)));
  return {};
}

nlohmann::ordered_json job_json(const LaunchOptions& launch,
                                const std::vector<RankReport>& reports) {
  const std::vector<double> seconds = call_seconds(reports);
  const double typical = median(seconds);
  std::vector<std::int64_t> k;
  for (const RankReport& report : reports) k.push_back(report.k);
  return {{"operator", kOperator},
          {"ranks", launch.ranks},
          {"transport", transport(launch)},
          {"threads_per_rank", reports[0].threads},
          {"x1", reports[0].x1},
          {"x2", reports[0].x2},
          {"residual", reports[0].residual},
          {"m", reports[0].m},
          {"k", k},
          {"n", reports[0].n},
          {"seconds", seconds},
          {"median_seconds", typical},
          {"gflops", total_flops(reports) / typical * 1e-9},
          {"gflops_per_rank", total_flops(reports) / typical * 1e-9 / launch.ranks}};
}

}  // namespace weft::tools
