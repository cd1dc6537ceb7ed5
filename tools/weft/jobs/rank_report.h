// SPDX-License-Identifier: Apache-2.0
// What one rank of a job has to say: times, trace and results.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "jobs/ranks.h"
#include "operators/operator.h"
#include "weft/trace.h"

namespace weft::tools {

/// Begin and end of one call, CLOCK_MONOTONIC, which all ranks share.
struct Span {
  std::int64_t begin_ns = 0, end_ns = 0;
};

/// One output of one rank.
struct OutputReport {
  std::string name, tensor;  ///< "y", "float16 (1, 4, 8)"
  std::uint64_t digest = 0;
  std::vector<std::uint8_t> rows;  ///< those of Job::rows that it has, or all of it if it has none
};

struct RankReport {
  std::string plan, remark;                                   ///< of the PlannedCall
  std::vector<std::pair<std::string, std::string>> operands;  ///< name and tensor of the given ones
  DType io = DType::kFloat16;
  Extents extents;
  double bytes_moved = 0;  ///< beside the product
  int threads = 1;
  std::vector<Span> calls, separate_calls, gemm_calls;
  std::vector<TraceEvent> events;
  std::int64_t events_dropped = 0;
  std::vector<OutputReport> outputs;  ///< those that the call had
};

/// As the bytes that a rank's process sends home.
Bytes to_bytes(const RankReport& report);
RankReport report_of(const Bytes& bytes);

// The parts of it that other reports have too.
Json json_of(const std::vector<Span>& spans);
Json json_of(const std::vector<TraceEvent>& events);
std::vector<Span> spans_of(const JsonValue& list);
std::vector<TraceEvent> events_of(const JsonValue& list);

}  // namespace weft::tools
