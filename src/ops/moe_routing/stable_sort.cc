// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/stable_sort.h"

#include <algorithm>
#include <array>
#include <utility>

namespace weft::ops {
namespace {

constexpr int kDigitBits = 11, kKeyBits = 32;
constexpr std::uint32_t kDigits = 1U << kDigitBits;

}  // namespace

IdAndPayload* stable_sort_by_id(IdAndPayload* items, IdAndPayload* other, std::int64_t count) {
  if (count == 0) return items;
  const auto [least, greatest] = std::minmax_element(
      items, items + count, [](const auto& a, const auto& b) { return a.id < b.id; });
  // From the least id on, so that the order of the keys is that of signed ids and they are small.
  const auto base = static_cast<std::uint32_t>(least->id);
  const std::uint32_t range = static_cast<std::uint32_t>(greatest->id) - base;
  for (int shift = 0; shift < kKeyBits && range >> shift != 0; shift += kDigitBits) {
    const auto digit = [&](const IdAndPayload& item) {
      return (static_cast<std::uint32_t>(item.id) - base) >> shift & (kDigits - 1);
    };
    std::array<std::int64_t, kDigits> next{};
    for (std::int64_t i = 0; i < count; ++i) ++next[digit(items[i])];
    std::int64_t sum = 0;
    for (std::int64_t& start : next) sum += std::exchange(start, sum);
    for (std::int64_t i = 0; i < count; ++i) other[next[digit(items[i])]++] = items[i];
    std::swap(items, other);
  }
  return items;
}

}  // namespace weft::ops
