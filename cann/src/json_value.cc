// SPDX-License-Identifier: Apache-2.0
#include "json_value.h"

#include <fmt/core.h>

#include <istream>
#include <nlohmann/json.hpp>

namespace weft::cann {
namespace {

using Json = nlohmann::json;

const Json& json(const void* value) { return *static_cast<const Json*>(value); }

}  // namespace

JsonValue::JsonValue(std::shared_ptr<const void> file, const void* value, std::string path)
    : file_(std::move(file)), value_(value), path_(std::move(path)) {}

std::optional<JsonValue> JsonValue::read_object(std::istream& file) {
  // Neither exceptions nor comments.
  auto read = std::make_shared<const Json>(Json::parse(file, nullptr, false, false));
  if (!read->is_object()) return std::nullopt;
  return JsonValue(read, read.get(), "");
}

JsonValue JsonValue::at(const char* key) const {
  const bool has = value_ && json(value_).is_object() && json(value_).contains(key);
  return {file_, has ? &json(value_)[key] : nullptr, path_.empty() ? key : path_ + '.' + key};
}

JsonValue JsonValue::at(std::size_t i) const {
  return {file_, &json(value_)[i], fmt::format("{}[{}]", path_, i)};
}

std::size_t JsonValue::size() const { return json(value_).size(); }
bool JsonValue::is_list() const { return value_ && json(value_).is_array(); }

std::string JsonValue::text() const {
  if (!value_) return {};
  if (json(value_).is_string()) return json(value_).get<std::string>();
  return json(value_).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace weft::cann
