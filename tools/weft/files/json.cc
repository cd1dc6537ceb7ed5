// SPDX-License-Identifier: Apache-2.0
#include "files/json.h"

#include <nlohmann/json.hpp>

namespace weft::tools {

using Value = nlohmann::ordered_json;

/// A type of ours, so that the header can name it.
struct Json::Tree {
  Value value;
};

Json::Json(Tree tree) : tree_(new Tree(std::move(tree))) {}
Json::Json(bool value) : Json(Tree{value}) {}
Json::Json(double value) : Json(Tree{value}) {}
Json::Json(std::string_view value) : Json(Tree{value}) {}
Json::Json(Number, std::int64_t value) : Json(Tree{value}) {}

Json Json::list(std::initializer_list<Json> values) {
  Json made(Tree{Value::array()});
  for (const Json& value : values) made.push(value);
  return made;
}

Json Json::object(std::initializer_list<std::pair<std::string_view, Json>> members) {
  Json made(Tree{Value::object()});
  for (const auto& [name, value] : members) made.set(name, value);
  return made;
}

Json Json::parsed(std::string_view text) { return Json(Tree{Value::parse(text)}); }

Json Json::binary(const Bytes& bytes) { return Json(Tree{Value::binary(bytes)}); }

Json::Json(const Json& other) : Json(*other.tree_) {}
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(Json other) {
  tree_.swap(other.tree_);
  return *this;
}
Json::~Json() = default;

Json& Json::set(std::string_view name, Json value) {
  tree_->value[std::string(name)] = std::move(value.tree_->value);
  return *this;
}

Json& Json::push(Json value) {
  tree_->value.push_back(std::move(value.tree_->value));
  return *this;
}

std::string Json::text(int indent) const { return tree_->value.dump(indent); }
Bytes Json::cbor() const { return Value::to_cbor(tree_->value); }

JsonValue JsonValue::parse(std::string_view text) {
  auto whole = std::make_shared<const Value>(Value::parse(text));
  return JsonValue(whole, whole.get());
}

JsonValue JsonValue::parse_cbor(std::span<const std::uint8_t> bytes) {
  auto whole = std::make_shared<const Value>(Value::from_cbor(bytes));
  return JsonValue(whole, whole.get());
}

namespace {

const Value& value_at(const void* part) { return *static_cast<const Value*>(part); }

}  // namespace

bool JsonValue::has(std::string_view name) const {
  return value_at(part_).contains(std::string(name));
}

JsonValue JsonValue::operator[](std::string_view name) const {
  return JsonValue(whole_, &value_at(part_).at(std::string(name)));
}

JsonValue JsonValue::operator[](std::size_t i) const {
  return JsonValue(whole_, &value_at(part_).at(i));
}

std::size_t JsonValue::size() const { return value_at(part_).size(); }
std::string JsonValue::string() const { return value_at(part_).get<std::string>(); }
bool JsonValue::boolean() const { return value_at(part_).get<bool>(); }
double JsonValue::number() const { return value_at(part_).get<double>(); }
std::int64_t JsonValue::integer() const { return value_at(part_).get<std::int64_t>(); }
Bytes JsonValue::binary() const { return value_at(part_).get_binary(); }

}  // namespace weft::tools
