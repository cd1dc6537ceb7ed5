// SPDX-License-Identifier: Apache-2.0
// The operator run on all ranks of a launch, timed, and what each rank has to say about it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "operands.h"
#include "ranks.h"
#include "weft/trace.h"

namespace weft::tools {

struct Job {
  const OperandSource* operands = nullptr;
  int warmup = 0;  ///< calls before those that are timed
  int repeat = 1;
  bool in_place = false;
  bool trace = false;              ///< of the last call
  bool digests = false;            ///< of all of y and norm_out
  bool unfused = false;            ///< also time the same job as separate passes
  std::vector<std::int64_t> rows;  ///< rows of y and norm_out to bring home
  std::string out;                 ///< folder for y_{rank}.npy and norm_out_{rank}.npy
};

/// Begin and end of one call, CLOCK_MONOTONIC, which all ranks share.
struct Span {
  std::int64_t begin_ns = 0, end_ns = 0;
};

struct RankReport {
  std::string plan;  ///< describe()
  std::string x1, x2, residual;
  DType io = DType::kFloat16;
  std::int64_t m = 0, k = 0, n = 0;
  int threads = 1;
  std::vector<Span> calls, unfused_calls, gemm_calls;
  std::vector<TraceEvent> events;
  std::int64_t events_dropped = 0;
  std::uint64_t y_digest = 0, norm_digest = 0;
  std::vector<std::uint16_t> y_rows, norm_rows;  ///< Job::rows one after the other
};

Result<std::vector<RankReport>> run_job(const LaunchOptions& launch, const Job& job);

/// Seconds of each call: from the first rank that starts it to the last that ends it. With more
/// ranks than cores, every rank's own time would leave out its wait for a core.
std::vector<double> call_seconds(const std::vector<RankReport>& reports,
                                 std::vector<Span> RankReport::*calls = &RankReport::calls);
double median(std::vector<double> values);
/// 2 m n k of all ranks.
double total_flops(const std::vector<RankReport>& reports);

}  // namespace weft::tools
