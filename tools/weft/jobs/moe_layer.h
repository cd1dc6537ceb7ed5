// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts layer on the ranks of a launch: gate, dispatch, experts, shared expert,
// combine + add + norm. Once with the fused operators and once in separate steps around the same
// experts, each stage timed, both checked.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "jobs/moe_check.h"
#include "jobs/rank_report.h"
#include "jobs/ranks.h"

namespace weft::tools {

inline constexpr std::array<std::string_view, 5> kMoeStages = {
    "gate", "dispatch", "experts", "shared expert", "combine + add + norm"};
enum MoeStage : std::uint8_t { kGate, kDispatch, kExperts, kSharedExpert, kCombine };

/// The ranks begin each stage together.
using MoeStageSpans = std::array<std::vector<Span>, kMoeStages.size()>;

struct MoeReport {
  MoeStageSpans fused, separate;      ///< of each call that was timed
  std::int64_t rows = 0, remote = 0;  ///< of this rank's tokens, sent to experts; to other ranks
  std::int64_t received = 0;          ///< rows of this rank's experts
  int threads = 1;
  std::vector<TraceEvent> events;  ///< of the last fused call
  MoeErrors errors;
};

/// Random operands, `warmup` + `repeat` layers of either kind. `ranks` divides the experts.
Result<std::vector<MoeReport>> run_moe_layer(const LaunchOptions& launch, const MoeSizes& sizes,
                                             int warmup, int repeat);

/// Seconds of a stage in each call: from the first rank that begins it to the last that ends it.
std::vector<double> stage_seconds(const std::vector<MoeReport>& reports,
                                  MoeStageSpans MoeReport::*kind, std::size_t stage);

}  // namespace weft::tools
