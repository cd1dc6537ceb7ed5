// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "comm/group_state.h"
#include "comm/hash.h"

namespace weft::internal {
namespace {

void store_text(char* to, std::size_t capacity, std::string_view text) {
  const std::size_t length = std::min(text.size(), capacity - 1);
  std::memcpy(to, text.data(), length);
  std::memset(to + length, 0, capacity - length);
}

/// What is stored of a value: itself, or its beginning and a hash of the whole, so that values that
/// differ only behind the cut still differ in the text.
std::string fit_value(std::string_view value) {
  constexpr std::size_t kMost = sizeof(CallHeader::Field::value) - 1;
  if (value.size() <= kMost) return std::string(value);
  return fmt::format("{}…{:016x}", value.substr(0, kMost - 19), hash(kHashSeed, value));
}

/// Peers' memory: never trust it to hold a terminator.
template <std::size_t N>
std::string_view text_of(const char (&chars)[N]) {
  return {chars, strnlen(chars, N)};
}

const CallHeader::Field* find(const CallHeader& header, std::string_view name) {
  for (int i = 0; i < std::clamp(header.count_, 0, CallHeader::kFields); ++i)
    if (text_of(header.fields_[static_cast<std::size_t>(i)].name) == name)
      return &header.fields_[static_cast<std::size_t>(i)];
  return nullptr;
}

std::string sentence(std::string_view op, std::string_view field, std::string_view value0, int rank,
                     std::string_view value) {
  return fmt::format(
      "{}: {} is {} on rank 0 but {} on rank {}. Give it the same value on every rank and form a "
      "new group.",
      op, field, value0, value, rank);
}

}  // namespace

CallHeader::CallHeader(std::string_view op) {
  store_text(op_, sizeof op_, op);
  digest_ = hash(kHashSeed, op);
}

CallHeader& CallHeader::add(std::string_view name, std::string_view value) {
  assert(count_ < kFields && name.size() < sizeof(Field::name));
  if (count_ == kFields) return *this;
  Field& field = fields_[static_cast<std::size_t>(count_++)];
  store_text(field.name, sizeof field.name, name);
  store_text(field.value, sizeof field.value, fit_value(value));
  // The terminators count, so that ("ab", "c") and ("a", "bc") differ.
  digest_ = hash(hash(digest_, {field.name, sizeof field.name}), {field.value, sizeof field.value});
  return *this;
}

CallHeader& CallHeader::add(std::string_view name, std::int64_t value) {
  return add(name, fmt::format_int(value).c_str());
}

std::string_view CallHeader::op() const { return text_of(op_); }

std::string CallHeader::difference(const CallHeader& first, const CallHeader& other, int rank) {
  const std::string_view op = first.op();
  if (op != other.op())
    return fmt::format(
        "rank 0 called {} but rank {} called {}. All ranks must make the same calls in the same "
        "order; form a new group.",
        op, rank, other.op());
  for (int i = 0; i < std::clamp(first.count_, 0, kFields); ++i) {
    const Field& field = first.fields_[static_cast<std::size_t>(i)];
    const Field* theirs = find(other, text_of(field.name));
    if (!theirs) return sentence(op, text_of(field.name), text_of(field.value), rank, "not given");
    if (text_of(theirs->value) != text_of(field.value))
      return sentence(op, text_of(field.name), text_of(field.value), rank, text_of(theirs->value));
  }
  for (int i = 0; i < std::clamp(other.count_, 0, kFields); ++i) {
    const Field& field = other.fields_[static_cast<std::size_t>(i)];
    if (!find(first, text_of(field.name)))
      return sentence(op, text_of(field.name), "not given", rank, text_of(field.value));
  }
  return sentence(op, "the order of arguments", "one", rank, "another");
}

}  // namespace weft::internal
