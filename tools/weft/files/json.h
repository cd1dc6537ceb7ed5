// SPDX-License-Identifier: Apache-2.0
// JSON and its binary form CBOR. The one place that knows nlohmann's library, whose header costs
// every file that includes it seconds to compile.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::tools {

using Bytes = std::vector<std::uint8_t>;

/// A value to be written. Objects keep the order in which their members were set.
class Json {
 public:
  Json(bool value);
  Json(double value);
  Json(const char* value) : Json(std::string_view(value)) {}
  Json(const std::string& value) : Json(std::string_view(value)) {}
  Json(std::string_view value);
  template <std::integral Integer>
  Json(Integer value) : Json(Number(), static_cast<std::int64_t>(value)) {}
  /// A list.
  template <typename T>
  Json(const std::vector<T>& values) : Json(list()) {
    for (const T& value : values) push(value);
  }
  static Json list(std::initializer_list<Json> values = {});
  static Json object(std::initializer_list<std::pair<std::string_view, Json>> members = {});
  /// Of what is JSON already; throws what JsonValue::parse() throws.
  static Json parsed(std::string_view text);
  /// CBOR has them, JSON has not.
  static Json binary(const Bytes& bytes);

  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(Json other);
  ~Json();

  Json& set(std::string_view name, Json value);
  Json& push(Json value);

  /// One line, or one a member, `indent` spaces deeper each.
  std::string text(int indent = -1) const;
  Bytes cbor() const;

 private:
  struct Tree;
  struct Number {};
  Json(Number, std::int64_t value);
  explicit Json(Tree tree);
  std::unique_ptr<Tree> tree_;
};

/// A value that was read, or a part of one; it keeps the whole alive. What is not there, or of
/// another type, throws a std::exception that says so.
class JsonValue {
 public:
  static JsonValue parse(std::string_view text);
  static JsonValue parse_cbor(std::span<const std::uint8_t> bytes);

  bool has(std::string_view name) const;
  JsonValue operator[](std::string_view name) const;
  JsonValue operator[](std::size_t i) const;
  std::size_t size() const;

  std::string string() const;
  bool boolean() const;
  double number() const;
  Bytes binary() const;
  std::int64_t integer() const;
  template <std::integral Integer>
  operator Integer() const {
    return static_cast<Integer>(integer());
  }

 private:
  JsonValue(std::shared_ptr<const void> whole, const void* part)
      : whole_(std::move(whole)), part_(part) {}
  std::shared_ptr<const void> whole_;
  const void* part_;  // of nlohmann's type
};

}  // namespace weft::tools
