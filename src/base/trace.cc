// SPDX-License-Identifier: Apache-2.0
#include "weft/trace.h"

#include "base/clock.h"

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

std::int64_t trace_now_ns() { return now_ns(); }

}  // namespace weft
