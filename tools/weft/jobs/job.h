// SPDX-License-Identifier: Apache-2.0
// An operator run on all ranks of a launch, timed, and what each rank has to say about it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jobs/rank_report.h"
#include "jobs/ranks.h"
#include "operators/operator.h"

namespace weft::tools {

struct Job {
  const Operator* op = nullptr;
  const OperandSource* operands = nullptr;
  int warmup = 0;  ///< calls before those that are timed
  int repeat = 1;
  OutputForm outputs = OutputForm::kSeparate;
  bool nz_x2 = false;              ///< x2 is stored as FRACTAL_NZ before the call is planned
  bool trace = false;              ///< of the last call
  bool digests = false;            ///< of all of the outputs
  bool separate = false;           ///< also time the same job as separate passes, where there are
  std::vector<std::int64_t> rows;  ///< of the outputs to bring home; ranks may have fewer
  std::string out;                 ///< folder for {output}_{rank}.npy
};

Result<std::vector<RankReport>> run_job(const LaunchOptions& launch, const Job& job);

/// Seconds of each call: from the first rank that starts it to the last that ends it. With more
/// ranks than cores, every rank's own time would leave out its wait for a core.
std::vector<double> call_seconds(const std::vector<RankReport>& reports,
                                 std::vector<Span> RankReport::*calls = &RankReport::calls);
/// The same of the calls of each rank.
std::vector<double> call_seconds(std::span<const std::vector<Span>* const> ranks);
double median(std::vector<double> values);
/// Of the products of all ranks.
double total_flops(const std::vector<RankReport>& reports);
/// Empty, or the name of an output that differs between the ranks. The job took digests.
std::string first_difference(const std::vector<RankReport>& reports);

}  // namespace weft::tools
