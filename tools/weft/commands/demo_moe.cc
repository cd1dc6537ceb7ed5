// SPDX-License-Identifier: Apache-2.0
// weft demo moe: a mixture-of-experts layer, and where its time goes.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "base/topology.h"
#include "commands/demo.h"
#include "files/file_io.h"
#include "files/timeline.h"
#include "jobs/job.h"
#include "jobs/moe_layer.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

constexpr MoeSizes kSizes = {
    .tokens = 256, .hidden = 2048, .inner = 1408, .experts = 64, .top_k = 6};
constexpr int kWarmup = 1, kRepeat = 5, kSteps = 3;

void print_job() {
  fmt::print("mixture-of-experts layer: {} rank processes on {} usable core(s)\n", kDemoRanks,
             topology().usable_cpus);
  fmt::print(
      "  {} tokens a rank, {} elements, bfloat16; {} experts of {} (swiglu), the best {} of each "
      "token;\n"
      "  one shared expert for all tokens, on every rank\n"
      "  y = rmsnorm(sum of p expert(x) + shared(x) + residual) gamma\n\n",
      kSizes.tokens, kSizes.hidden, kSizes.experts, kSizes.inner, kSizes.top_k);
}

Status check_results(const std::vector<MoeReport>& reports) {
  MoeErrors worst;
  for (const MoeReport& report : reports) {
    const MoeErrors& e = report.errors;
    worst.gate = std::max(worst.gate, e.gate);
    worst.token = std::max(worst.token, e.token);
    worst.separate = std::max(worst.separate, e.separate);
    worst.same_rows = worst.same_rows && e.same_rows;
  }
  if (!worst.same_rows)
    return Status(StatusCode::kInternal,
                  "the experts got other rows from the dispatch than from the separate steps.");
  if (!(worst.gate <= 1 && worst.token <= 1 && worst.separate <= 1))
    return Status(StatusCode::kInternal,
                  fmt::format("the gate is {:.2f}, a token {:.2f} times its bound from double "
                              "precision; the separate steps are {:.2f} times theirs from the "
                              "fused operators.",
                              worst.gate, worst.token, worst.separate));
  fmt::print(
      "      experts get the same bits either way; all tokens agree with the separate steps "
      "({:.2f} of\n"
      "      the bound), one of every rank with double precision (gate {:.2f}, result {:.2f})\n\n",
      worst.separate, worst.gate, worst.token);
  return {};
}

void print_rows(const std::vector<MoeReport>& reports) {
  std::int64_t rows = 0, remote = 0, least = reports[0].received, most = 0;
  for (const MoeReport& report : reports) {
    rows += report.rows;
    remote += report.remote;
    least = std::min(least, report.received);
    most = std::max(most, report.received);
  }
  fmt::print(
      "  {} rows to experts and back, {} of them ({}) to another rank; {} to {} for a rank's "
      "experts\n\n",
      rows, remote, bytes_text(static_cast<double>(2 * remote * kSizes.hidden)), least, most);
}

/// Medians of the stages. What is the same call in both kinds of layer is one number: the median of
/// all of them.
struct Times {
  std::vector<double> fused, separate;

  explicit Times(const std::vector<MoeReport>& reports) {
    for (std::size_t stage = 0; stage < kMoeStages.size(); ++stage) {
      std::vector<double> a = stage_seconds(reports, &MoeReport::fused, stage);
      std::vector<double> b = stage_seconds(reports, &MoeReport::separate, stage);
      if (stage != kDispatch && stage != kCombine) {
        a.insert(a.end(), b.begin(), b.end());
        b = a;
      }
      fused.push_back(median(a));
      separate.push_back(median(b));
    }
  }
};

/// "3 ms to 5 ms": dispatch and combine together in the calls.
std::string moved_text(const std::vector<MoeReport>& reports, MoeStageSpans MoeReport::*kind) {
  std::vector<double> calls = stage_seconds(reports, kind, kDispatch);
  const std::vector<double> back = stage_seconds(reports, kind, kCombine);
  for (std::size_t i = 0; i < calls.size(); ++i) calls[i] += back[i];
  const auto [least, most] = std::ranges::minmax(calls);
  return fmt::format("{} to {}", seconds_text(least), seconds_text(most));
}

double layer(const std::vector<double>& stages) {
  return std::accumulate(stages.begin(), stages.end(), 0.0);
}
double moved(const std::vector<double>& stages) { return stages[kDispatch] + stages[kCombine]; }
/// Of the time, what is not the experts', in percent.
double around(const std::vector<double>& stages) {
  return 100 - 100 * (stages[kExperts] + stages[kSharedExpert]) / layer(stages);
}

void print_times(const std::vector<MoeReport>& reports, const Times& t) {
  Table table({"  stage", "fused", "separate steps"});
  for (std::size_t i = 0; i < kMoeStages.size(); ++i)
    table.add({fmt::format("  {}", kMoeStages[i]), seconds_text(t.fused[i]),
               seconds_text(t.separate[i])});
  table.add({"  the layer", seconds_text(layer(t.fused)), seconds_text(layer(t.separate))});
  table.add({"  not the experts' work", fmt::format("{:.1f} %", around(t.fused)),
             fmt::format("{:.1f} %", around(t.separate))});
  fmt::print("{}", table.text());
  fmt::print(
      "  Medians of {}; the ranks begin each stage together; gate and experts are the same calls.\n"
      "  Separate steps: sort by expert, counts, all-to-all, sort; and back, sum, add, add + "
      "norm.\n"
      "  Fused, dispatch and combine are {:.2f} x as fast, the layer is {:.2f} x. Together they "
      "took "
      "{},\n  separate {}.\n\n",
      kRepeat, moved(t.separate) / moved(t.fused), layer(t.separate) / layer(t.fused),
      moved_text(reports, &MoeReport::fused), moved_text(reports, &MoeReport::separate));
}

Status draw(const DemoSetup& setup, const std::vector<MoeReport>& reports, const Times& times) {
  Timeline timeline{
      fmt::format("mixture-of-experts layer, {} ranks: {}", kDemoRanks,
                  seconds_text(layer(times.fused))),
      fmt::format("gate, dispatch, experts, shared expert, combine + add + norm; {} tokens a rank, "
                  "{} experts, {} each; {} thread(s) a rank",
                  kSizes.tokens, kSizes.experts, kSizes.top_k, reports[0].threads),
      {}};
  for (std::size_t rank = 0; rank < reports.size(); ++rank)
    timeline.lanes.push_back({static_cast<int>(rank), reports[rank].events});
  WEFT_RETURN_IF_ERROR(write_text_file(setup.files.trace, chrome_trace(timeline)));
  return write_text_file(setup.files.timeline, timeline_svg(timeline));
}

}  // namespace

Status demo_moe(const DemoArguments& arguments) {
  WEFT_ASSIGN_OR_RETURN(const DemoSetup setup, set_up_demo(arguments, "weft-demo-moe"));
  print_job();
  std::vector<MoeReport> reports;
  {
    const DemoStep step(
        1, kSteps,
        fmt::format("running {} ranks, {} + {} layers, fused and in separate steps; checking",
                    kDemoRanks, kWarmup, kRepeat));
    WEFT_ASSIGN_OR_RETURN(reports, run_moe_layer(setup.launch, kSizes, kWarmup, kRepeat));
    step.done("done");
  }
  WEFT_RETURN_IF_ERROR(check_results(reports));
  print_rows(reports);
  const Times times(reports);
  print_times(reports, times);
  const DemoStep step(kSteps, kSteps, "drawing the timeline");
  WEFT_RETURN_IF_ERROR(draw(setup, reports, times));
  step.drawn(setup.files);
  return {};
}

}  // namespace weft::tools
