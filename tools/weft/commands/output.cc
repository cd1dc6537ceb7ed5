// SPDX-License-Identifier: Apache-2.0
#include "commands/output.h"

#include <fmt/core.h>

#include <algorithm>

#include "files/file_io.h"
#include "files/timeline.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

std::string_view transport(const LaunchOptions& launch) {
  return launch.kind == RankKind::kThreads ? "threads" : "processes";
}

/// "m 4096, k 1024 per rank, n 8192", or the list of k when they differ.
std::string extents_text(const std::vector<RankReport>& reports) {
  const Extents& first = reports[0].extents;
  std::string k;
  bool equal = true;
  for (const RankReport& report : reports) {
    k += fmt::format("{}{}", k.empty() ? "" : ", ", report.extents.k);
    equal = equal && report.extents.k == first.k;
  }
  if (equal) k = fmt::format("{} per rank", first.k);
  if (total_flops(reports) == 0) return fmt::format("m {}, n {}", first.m, first.n);
  return fmt::format("m {}, k {}, n {}", first.m, k, first.n);
}

double total_bytes(const std::vector<RankReport>& reports) {
  double bytes = 0;
  for (const RankReport& report : reports) bytes += report.bytes_moved;
  return bytes;
}

Timeline timeline_of(const std::vector<RankReport>& reports, std::string title,
                     std::string subtitle) {
  Timeline timeline{std::move(title), std::move(subtitle), {}};
  for (std::size_t rank = 0; rank < reports.size(); ++rank)
    timeline.lanes.push_back({static_cast<int>(rank), reports[rank].events});
  return timeline;
}

// Wider tables do not fit a terminal.
constexpr int kMostColumns = 16;

std::string cell(double ms) { return ms > 0 ? fmt::format("{:.2f}", ms) : "0"; }

std::string matrix_text(const Waits& waits) {
  std::vector<std::string> head = {"waits in ms, for rank"};
  for (int peer = 0; peer < waits.ranks(); ++peer) head.push_back(fmt::format("{}", peer));
  head.insert(head.end(), {"no one rank", "all"});
  Table table(std::move(head));
  for (int rank = 0; rank < waits.ranks(); ++rank) {
    std::vector<std::string> row = {fmt::format("  of rank {}", rank)};
    for (int peer = 0; peer < waits.ranks(); ++peer) row.push_back(cell(waits.ms(rank, peer)));
    row.insert(row.end(), {cell(waits.ms(rank, -1)), cell(waits.total_ms(rank))});
    table.add(std::move(row));
  }
  return table.text();
}

std::string longest_text(const Waits& waits) {
  Table table({"waits in ms", "all", "most for rank", "of it"});
  for (int rank = 0; rank < waits.ranks(); ++rank) {
    int most = 0;
    for (int peer = 1; peer < waits.ranks(); ++peer)
      if (waits.ms(rank, peer) > waits.ms(rank, most)) most = peer;
    const bool any = waits.ms(rank, most) > 0;
    table.add({fmt::format("  of rank {}", rank), cell(waits.total_ms(rank)),
               any ? fmt::format("{}", most) : "none", cell(waits.ms(rank, most))});
  }
  return table.text();
}

bool traced(const std::vector<RankReport>& reports) {
  return std::ranges::any_of(reports, [](const RankReport& r) { return !r.events.empty(); });
}

/// Seconds that each rank waited for each other.
std::vector<std::vector<double>> wait_matrix(const std::vector<RankReport>& reports) {
  const Waits waits(timeline_of(reports, {}, {}));
  std::vector<std::vector<double>> rows(static_cast<std::size_t>(waits.ranks()));
  for (int rank = 0; rank < waits.ranks(); ++rank)
    for (int peer = 0; peer < waits.ranks(); ++peer)
      rows[static_cast<std::size_t>(rank)].push_back(1e-3 * waits.ms(rank, peer));
  return rows;
}

}  // namespace

void add_trace_options(Command& command, TraceFiles& files) {
  command
      .add("--trace", files.trace,
           "Write what every rank did when, as a Chrome trace (ui.perfetto.dev)")
      .type("FILE.json");
  command.add("--timeline", files.timeline, "The same as a picture").type("FILE.svg");
}

Status check_trace_files(const TraceFiles& files) {
  for (const std::string& path : {files.trace, files.timeline})
    if (!path.empty()) WEFT_RETURN_IF_ERROR(write_text_file(path, ""));
  return {};
}

Status write_trace_files(const TraceFiles& files, const Operator& op, const LaunchOptions& launch,
                         const std::vector<RankReport>& reports) {
  if (!files.wanted()) return {};
  const double seconds = call_seconds(reports).back();
  const std::string title =
      fmt::format("{}, {} ranks: {}", op.name(), launch.ranks, seconds_text(seconds));
  const std::string subtitle =
      fmt::format("{}, {}; ranks are {}, {} thread(s) each; one call", extents_text(reports),
                  weft::to_string(reports[0].io), transport(launch), reports[0].threads);
  const Timeline timeline = timeline_of(reports, title, subtitle);
  if (!files.trace.empty())
    WEFT_RETURN_IF_ERROR(write_text_file(files.trace, chrome_trace(timeline)));
  if (!files.timeline.empty())
    WEFT_RETURN_IF_ERROR(write_text_file(files.timeline, timeline_svg(timeline)));
  return {};
}

std::string waits_text(const Waits& waits) {
  return waits.ranks() <= kMostColumns ? matrix_text(waits) : longest_text(waits);
}

std::string waits_text(const std::vector<RankReport>& reports) {
  return waits_text(Waits(timeline_of(reports, {}, {})));
}

Json job_json(const Operator& op, const LaunchOptions& launch,
              const std::vector<RankReport>& reports) {
  const std::vector<double> seconds = call_seconds(reports);
  const double typical = median(seconds);
  std::vector<std::int64_t> k;
  for (const RankReport& report : reports) k.push_back(report.extents.k);
  Json all = Json::object({{"operator", op.name()},
                           {"ranks", launch.ranks},
                           {"transport", transport(launch)},
                           {"threads_per_rank", reports[0].threads}});
  for (const auto& [name, tensor] : reports[0].operands) all.set(name, tensor);
  all.set("m", reports[0].extents.m).set("k", k).set("n", reports[0].extents.n);
  all.set("seconds", seconds).set("median_seconds", typical);
  if (const double flops = total_flops(reports); flops > 0) {
    all.set("gflops", flops / typical * 1e-9);
    all.set("gflops_per_rank", flops / typical * 1e-9 / launch.ranks);
  } else {
    all.set("bytes_per_second", total_bytes(reports) / typical);
  }
  if (traced(reports)) all.set("wait_seconds_for_rank", wait_matrix(reports));
  return all;
}

std::string rate_text(const std::vector<RankReport>& reports, double seconds) {
  const double flops = total_flops(reports);
  if (flops > 0) return flops_text(flops / seconds);
  return fmt::format("{:.1f} GB/s", total_bytes(reports) / seconds * 1e-9);
}

}  // namespace weft::tools
