// SPDX-License-Identifier: Apache-2.0
// weft_bench: every measurement of weft as one table and as JSON, within a budget of time.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "benchmarks.h"
#include "budget.h"
#include "files/file_io.h"
#include "jobs/job.h"
#include "report.h"
#include "roofline.h"
#include "terminal/command_line.h"
#include "terminal/progress.h"

namespace weft::bench {
namespace {

struct Options {
  int repetitions = 9;
  double budget_s = 300;
  bool everything = false;
  std::string json = "build/bench.json", plot;
  std::vector<std::string> peers, only;

  bool wanted(const Section& section) const {
    return only.empty() || std::ranges::find(only, section.name) != only.end();
  }
};

void add_options(tools::Command& command, Options& options) {
  command.add("--repeat", options.repetitions, "calls of each kind; the table shows medians")
      .range(7, 1000)
      .show_default();
  command
      .add("--budget", options.budget_s,
           "seconds that all may take: there are fewer calls (but at least 3), or measurements are "
           "skipped, where these do not suffice")
      .show_default();
  command.add("--long", options.everything, "all calls of everything, however long that takes");
  command.add("--json", options.json, "file for all results").show_default();
  command.add("--plot", options.plot,
              "SVG file for a picture: every measurement beside the roofs of this machine");
  command.add("--peers", options.peers, "files of JSON lines that bench/peers/*.py wrote")
      .existing_file();
  std::vector<std::string> names;
  for (const Section& section : sections()) names.push_back(section.name);
  command.add("--only", options.only, "sections to run instead of all").one_of(names);
}

// The median of what was measured before, between and after the sections: the clock of a shared
// machine moves.
tools::Machine median_of(const std::vector<tools::Machine>& machines) {
  const auto median = [&](auto value) {
    std::vector<double> values;
    for (const tools::Machine& machine : machines) values.push_back(value(machine));
    return tools::median(std::move(values));
  };
  tools::Machine result = machines.front();
  for (size_t i = 0; i < result.peaks.size(); ++i)
    result.peaks[i].ops_per_second =
        median([i](const tools::Machine& m) { return m.peaks[i].ops_per_second; });
  result.bandwidth.read = median([](const tools::Machine& m) { return m.bandwidth.read; });
  result.bandwidth.copy = median([](const tools::Machine& m) { return m.bandwidth.copy; });
  return result;
}

double measure_copy_together() {
  Team pair(2, 1);
  std::vector<double> copy(2);
  pair.run([&](int rank) {
    copy[static_cast<size_t>(rank)] = require(peak::measure_bandwidth(isa_in_use())).copy;
  });
  return std::min(copy[0], copy[1]);
}

// Google Benchmark calls what is registered in random order.
void interleave() {
  char program[] = "weft_bench", option[] = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program, option, nullptr};
  int count = 2;
  benchmark::Initialize(&count, arguments);
}

// Each section has its share of what is left, less what measuring the machine takes, so what one
// saves goes to those that follow.
class Sections {
 public:
  Sections(const Options& options, double seconds)
      : options_(options), budget_(seconds), progress_(1) {
    for (const Section& section : sections()) {
      if (!options.wanted(section)) continue;
      shares_left_ += section.share;
      ++count_;
    }
  }

  Report measure() {
    measure_machine();
    for (const Section& section : sections())
      if (options_.wanted(section) && measure(section)) measure_machine();
    progress_.clear();
    report_.machine = median_of(machines_);
    report_.copy_together = tools::median(copies_);
    return std::move(report_);
  }

 private:
  void measure_machine() {
    progress_.step(0, 1, "measuring the machine");
    progress_.draw();
    const Budget clock(0);
    machines_.push_back(require(tools::measure_machine(isa_in_use())));
    copies_.push_back(measure_copy_together());
    machine_s_ = clock.passed();
  }

  // False if all of it was skipped.
  bool measure(const Section& section) {
    const double left = budget_.left() - (count_ - number_) * machine_s_;
    const double seconds = left * (section.share / shares_left_);
    shares_left_ -= section.share;
    Registrar registrar(fmt::format("{} ({} of {})", section.name, ++number_, count_), seconds,
                        slow_gemm(), report_.results, progress_);
    section.add(registrar);
    const int calls = registrar.run(options_.repetitions);
    progress_.part_done(fmt::format("{}: {} measured, {} calls of each, {} skipped, {:.0f} s",
                                    section.name, registrar.count(), calls,
                                    registrar.skipped().size(), registrar.passed()));
    if (!registrar.skipped().empty())
      report_.skipped.push_back({section.name, registrar.skipped(), registrar.count()});
    return registrar.count() > 0;
  }

  // Half of what the slowest of the peaks that a product may run on allows.
  double slow_gemm() const {
    const auto peak = [&](DType type) {
      return tools::gemm_peak(machines_.front(), type, isa_in_use()).ops_per_second;
    };
    return std::min({peak(DType::kFloat16), peak(DType::kBFloat16), peak(DType::kInt8)}) / 2;
  }

  const Options& options_;
  const Budget budget_;
  tools::Progress progress_;
  double shares_left_ = 0;
  double machine_s_ = 0;
  int count_ = 0, number_ = 0;
  Report report_;
  std::vector<tools::Machine> machines_;
  std::vector<double> copies_;
};

int main(int argc, char** argv) {
  tools::CommandLine line("weft_bench", "Every measurement of weft as one table and as JSON.");
  Options options;
  add_options(line.program(), options);
  if (const std::optional<int> exit_code = line.parse(argc, argv)) return *exit_code;
#ifndef NDEBUG
  fmt::print(stderr, "weft_bench: this is a debug build; use the release preset\n");
  return 2;
#endif
  require(isa::capped("").status());
  for (const std::string& path : {options.json, options.plot})  // rather now than after minutes
    if (!path.empty()) require(tools::write_text_file(path, ""));
  interleave();
  const double no_bound = std::numeric_limits<double>::infinity();
  Report report = Sections(options, options.everything ? no_bound : options.budget_s).measure();
  for (const std::string& path : options.peers) report.read_peers(path);
  fmt::print("{}", report.table());
  require(tools::write_text_file(options.json, report.json_text() + "\n"));
  fmt::print("all results: {}\n", options.json);
  if (options.plot.empty()) return 0;
  require(tools::write_text_file(options.plot, roofline_svg(roofline(report))));
  fmt::print("picture: {}\n", options.plot);
  return 0;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
#ifdef WEFT_BENCH_CANN
  if (argc == 5 && std::string_view(argv[1]) == weft::bench::kHcclRank)
    return weft::bench::serve_hccl_rank(argv);
#endif
  return weft::bench::main(argc, argv);
}
