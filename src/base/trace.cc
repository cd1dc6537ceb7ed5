// SPDX-License-Identifier: Apache-2.0
#include "weft/trace.h"

#include <ctime>

namespace weft {

std::string_view to_string(TraceKind kind) {
  switch (kind) {
    case TraceKind::kPackA:
      return "pack";
    case TraceKind::kGemm:
      return "gemm";
    case TraceKind::kPublish:
      return "publish";
    case TraceKind::kWait:
      return "wait";
    case TraceKind::kReduceNorm:
      return "reduce+norm";
    case TraceKind::kCopy:
      return "copy";
  }
  return "unknown";
}

std::int64_t trace_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace weft
