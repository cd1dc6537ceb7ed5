// SPDX-License-Identifier: Apache-2.0
#include "hccl_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

#include "base/env.h"
#include "hccl/hccl_comm.h"
#include "hccl_call.h"

namespace weft::cann {
namespace {

/// How `reserved` of a HcclCommConfig begins.
struct Header {
  std::size_t size;
  std::uint32_t magic, version;
  std::uint64_t reserved;
};
static_assert(sizeof(Header) == HCCL_COMM_CONFIG_INFO_BYTES);

// The option lies where structs of older versions end in padding, so their size does not tell.
constexpr std::uint32_t kVersionWithExecTimeOut = 8;
constexpr int kOff = 0, kStrict = 2;
constexpr int kNotSet = -1;

std::atomic<int> deterministic_setting{kNotSet};

Error invalid(std::string text) { return {HCCL_E_PARA, std::move(text)}; }

Error check_header(const Header& header) {
  if (header.magic != HCCL_COMM_CONFIG_MAGIC_WORD)
    return invalid(
        fmt::format("config begins with {:#x} but must with {:#x}; call "
                    "HcclCommConfigInit before setting options",
                    header.magic, HCCL_COMM_CONFIG_MAGIC_WORD));
  if (header.size < sizeof(Header) || header.version == 0)
    return invalid(fmt::format("config says size {} and version {} but must at least say {} and 1",
                               header.size, header.version, sizeof(Header)));
  return {};
}

Error read_buffer_size(const HcclCommConfig& config, GroupOptions& options) {
  if (config.hcclBufferSize == HCCL_COMM_BUFFSIZE_CONFIG_NOT_SET) return {};
  if (config.hcclBufferSize == 0) return invalid("hcclBufferSize is 0 but must be at least 1 MB");
  options.window_bytes = 2 * (std::int64_t{config.hcclBufferSize} << 20);
  return {};
}

Error read_name(const HcclCommConfig& config, GroupOptions& options) {
  const std::size_t length = strnlen(config.hcclCommName, COMM_NAME_MAX_LENGTH);
  if (length == COMM_NAME_MAX_LENGTH)
    return invalid(fmt::format("hcclCommName has no end; it may have {} characters",
                               COMM_NAME_MAX_LENGTH - 1));
  options.name.assign(config.hcclCommName, length);
  return {};
}

Error read_exec_timeout(const HcclCommConfig& config, GroupOptions& options) {
  constexpr auto kDefault = static_cast<std::int32_t>(HCCL_COMM_EXECTIMEOUT_CONFIG_NOT_SET);
  if (config.hcclExecTimeOut == kDefault) return {};
  if (config.hcclExecTimeOut < 0)
    return invalid(fmt::format("hcclExecTimeOut is {} but must be 0 (for ever) or seconds",
                               config.hcclExecTimeOut));
  options.exec_timeout_s = config.hcclExecTimeOut == 0 ? -1 : config.hcclExecTimeOut;
  return {};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  return text;
}

}  // namespace

Error read_comm_config(const HcclCommConfig* given, GroupOptions& options) {
  if (!given) return null_argument("config");
  Header header;
  std::memcpy(&header, given, sizeof header);
  Error error = check_header(header);
  if (!error.ok()) return error;
  HcclCommConfig config;
  HcclCommConfigInit(&config);
  std::memcpy(&config, given, std::min(header.size, sizeof config));
  error = read_buffer_size(config, options);
  if (error.ok() && config.hcclDeterministic != HCCL_COMM_DETERMINISTIC_CONFIG_NOT_SET &&
      config.hcclDeterministic > kStrict)
    error = invalid(fmt::format("hcclDeterministic is {} but must be {} to {}",
                                config.hcclDeterministic, kOff, kStrict));
  if (error.ok()) error = read_name(config, options);
  if (error.ok() && header.version >= kVersionWithExecTimeOut)
    error = read_exec_timeout(config, options);
  return error;
}

Error set_deterministic(int value) {
  if (value < kOff || value > kStrict)
    return invalid(fmt::format("configValue is {} but must be {} to {}", value, kOff, kStrict));
  deterministic_setting = value;
  return {};
}

Error deterministic(int& value) {
  if (const int set = deterministic_setting; set != kNotSet) {
    value = set;
    return {};
  }
  const std::string text = env::text("HCCL_DETERMINISTIC");
  constexpr std::string_view kTexts[] = {"false", "true", "strict"};
  const auto* const found = std::find(std::begin(kTexts), std::end(kTexts), lower(text));
  if (found == std::end(kTexts))
    return invalid(fmt::format(
        "environment variable HCCL_DETERMINISTIC is \"{}\" but must be false, true or strict",
        text));
  value = static_cast<int>(found - std::begin(kTexts));
  return {};
}

}  // namespace weft::cann
