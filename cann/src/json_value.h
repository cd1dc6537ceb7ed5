// SPDX-License-Identifier: Apache-2.0
// JSON files that programs for CANN bring: its configuration and rank tables. The one place that
// knows nlohmann's library, whose header costs every file that includes it seconds to compile.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace weft::cann {

/// One value of a file, with its path for messages; it keeps the whole file alive.
class JsonValue {
 public:
  /// The object that a file holds; nullopt if it holds anything else, comments included.
  static std::optional<JsonValue> read_object(std::istream& file);

  bool exists() const { return value_ != nullptr; }
  /// "server_list[0].device".
  const std::string& path() const { return path_; }
  /// Does not exist if this is no object or has no such member.
  JsonValue at(const char* key) const;
  JsonValue at(std::size_t i) const;
  std::size_t size() const;
  bool is_list() const;
  /// Strings as they are; the rest as JSON; empty if there is no such value.
  std::string text() const;

 private:
  JsonValue(std::shared_ptr<const void> file, const void* value, std::string path);

  std::shared_ptr<const void> file_;
  const void* value_;  // of nlohmann's type
  std::string path_;
};

}  // namespace weft::cann
