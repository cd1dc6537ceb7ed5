// SPDX-License-Identifier: Apache-2.0
#include "config.h"

#include <fmt/core.h>

#include <charconv>
#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>

#include "base/env.h"
#include "json_value.h"

namespace weft::cann {
namespace {

constexpr int kMostDevices = 1024;

std::vector<int> visible_devices(std::string_view list, int devices) {
  std::vector<int> visible;
  while (true) {
    int id = -1;
    const auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), id);
    list.remove_prefix(static_cast<std::size_t>(end - list.data()));
    const int previous = visible.empty() ? -1 : visible.back();
    if (error != std::errc() || id <= previous || id >= devices) return visible;
    if (!list.empty() && list[0] != ',') return visible;
    visible.push_back(id);
    if (list.empty()) return visible;
    list.remove_prefix(1);
  }
}

}  // namespace

Result<std::vector<int>> read_devices() {
  WEFT_ASSIGN_OR_RETURN(const std::int64_t count, env::integer("WEFT_DEVICES", 1, kMostDevices));
  const std::string visible = env::text("ASCEND_RT_VISIBLE_DEVICES");
  if (!visible.empty()) return visible_devices(visible, static_cast<int>(count));
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

Error read_config(const char* path, MessageScope& scope) {
  std::ifstream file(path);
  if (!file) return {ACL_ERROR_INVALID_FILE, fmt::format("cannot read the file {}", path)};
  const std::optional<JsonValue> json = JsonValue::read_object(file);
  if (!json) return {ACL_ERROR_PARSE_FILE, fmt::format("{} is no JSON object", path)};
  const JsonValue mode = json->at("err_msg_mode");
  if (!mode.exists()) return {};
  const std::string text = mode.text();
  if (text != "0" && text != "1")
    return {ACL_ERROR_FILE_ATTR_INVALID,
            fmt::format("{}: err_msg_mode is {} but must be \"0\" or \"1\"", path, text)};
  scope = text == "1" ? MessageScope::kProcess : MessageScope::kThread;
  return {};
}

}  // namespace weft::cann
