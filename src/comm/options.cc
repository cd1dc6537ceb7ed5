// SPDX-License-Identifier: Apache-2.0
#include "comm/options.h"

#include <fmt/core.h>

#include <cmath>

#include "base/env.h"
#include "base/memory.h"

namespace weft::internal {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr std::int64_t kMaxWindow = std::int64_t{1} << 44;  // 16 TiB: a tenth of the address space

Status invalid(std::string text) { return Status(StatusCode::kInvalidArgument, std::move(text)); }

}  // namespace

Result<GroupOptions> resolve(int ranks, const GroupOptions& options) {
  if (ranks < 1 || ranks > kMaxRanks)
    return invalid(fmt::format("group: ranks is {} but must be 1 to {}", ranks, kMaxRanks));
  GroupOptions full = options;
  if (full.name.size() > kMaxNameLength)
    return invalid(fmt::format("group: name has {} characters but may have at most {}",
                               full.name.size(), kMaxNameLength));
  if (full.window_bytes < 0 || full.window_bytes > kMaxWindow)
    return invalid(fmt::format("group: window_bytes is {} but must be 0 (default) to {}",
                               full.window_bytes, kMaxWindow));
  if (full.window_bytes == 0) {
    WEFT_ASSIGN_OR_RETURN(const std::int64_t megabytes,
                          env::integer("HCCL_BUFFSIZE", 1, kMaxWindow >> 21));
    full.window_bytes = 2 * (megabytes << 20);
  }
  full.window_bytes = round_up(full.window_bytes, kPage);
  if (std::isnan(full.connect_timeout_s) || full.connect_timeout_s < 0)
    return invalid(fmt::format("group: connect_timeout_s is {} but must not be negative",
                               full.connect_timeout_s));
  if (full.connect_timeout_s == 0) {
    WEFT_ASSIGN_OR_RETURN(full.connect_timeout_s, env::seconds("HCCL_CONNECT_TIMEOUT"));
    if (full.connect_timeout_s == 0)
      return invalid("environment variable HCCL_CONNECT_TIMEOUT is 0 but must be above 0");
  }
  WEFT_ASSIGN_OR_RETURN(full.exec_timeout_s, resolve_exec_timeout(full.exec_timeout_s));
  return full;
}

Result<double> resolve_exec_timeout(double seconds) {
  if (std::isnan(seconds)) return invalid("group: exec_timeout_s is not a number");
  if (seconds != 0) return seconds;
  WEFT_ASSIGN_OR_RETURN(const double from_environment, env::seconds("HCCL_EXEC_TIMEOUT"));
  return from_environment == 0 ? -1.0 : from_environment;
}

}  // namespace weft::internal
