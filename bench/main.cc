// SPDX-License-Identifier: Apache-2.0
// weft_bench: every measurement of weft as one table and as JSON. Options of Google Benchmark work
// too, e.g.
// --benchmark_filter=fused.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <fstream>

#include "benchmarks.h"
#include "jobs/job.h"
#include "report.h"
#include "terminal/command_line.h"

namespace weft::bench {
namespace {

// Collects the time of each repetition; progress goes to stderr.
class Collector : public benchmark::BenchmarkReporter {
 public:
  explicit Collector(Results& results) : results_(results) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      Times& times = results_[run.run_name.function_name];
      times.seconds.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
      times.flops = run.counters.at("flops");
      times.bytes = run.counters.at("bytes");
    }
    if (!runs.empty()) fmt::print(stderr, "\r{:3} measured", results_.size());
  }
  void Finalize() override { fmt::print(stderr, "\n"); }

 private:
  Results& results_;
};

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

int main(int argc, char** argv) {
  tools::CommandLine line("weft_bench", "Every measurement of weft as one table and as JSON.");
  tools::Command& command = line.program();
  int repetitions = 9;
  std::string json = "build/bench.json", peers;
  std::vector<std::string> only;
  command.add("--repeat", repetitions, "calls of each kind; the table shows medians")
      .range(7, 1000);
  command.add("--json", json, "file for all results");
  command.add("--peers", peers, "JSON lines of bench/peers/torch_gloo.py").existing_file();
  std::vector<std::string> names;
  for (const Section& section : sections()) names.push_back(section.name);
  command.add("--only", only, "sections to run instead of all").one_of(names);
  if (const std::optional<int> exit_code = line.parse(argc, argv)) return *exit_code;
#ifndef NDEBUG
  fmt::print(stderr, "weft_bench: this is a debug build; use the release preset\n");
  return 2;
#endif
  Report report;
  require(isa::capped("").status());
  const auto measure_machine = [] { return require(tools::measure_machine(isa_in_use())); };
  std::vector<tools::Machine> machines = {measure_machine()};
  std::vector<double> copies = {measure_copy_together()};
  if (!peers.empty()) report.read_peers(peers);
  // Interleaved, so that what is compared is measured in the same minutes.
  char program[] = "weft_bench", interleave[] = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program, interleave, nullptr};
  int count = 2;
  benchmark::Initialize(&count, arguments);
  for (const Section& section : sections()) {
    if (!only.empty() && std::ranges::find(only, section.name) == only.end()) continue;
    Fixtures fixtures;
    register_section(section, fixtures, repetitions);
    Collector collector(report.results);
    benchmark::RunSpecifiedBenchmarks(&collector, ".*");
    benchmark::ClearRegisteredBenchmarks();
    machines.push_back(measure_machine());
    copies.push_back(measure_copy_together());
  }
  report.machine = median_of(machines);
  report.copy_together = tools::median(copies);
  fmt::print("{}", report.table());
  std::ofstream(json) << report.json_text() << "\n";
  fmt::print("all results: {}\n", json);
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
