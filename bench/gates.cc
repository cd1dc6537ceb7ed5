// SPDX-License-Identifier: Apache-2.0
#include "gates.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>

namespace weft::bench {
namespace {

struct Row {
  std::string_view name;
  unsigned kinds;
  Gate gate;
};

constexpr Row kRows[] = {
#define WEFT_GATE(name, kinds, bound, value) {name, kinds, {Bound::bound, value}},
#include "gates.inc"
#undef WEFT_GATE
};

}  // namespace

Kind kind_of(isa::Set in_use) {
  if (in_use & isa::kAmxBf16) return kAmx;
  return in_use & isa::kAvx512Bf16 ? kAvx512 : kAvx2;
}

std::optional<Gate> find_gate(std::string_view name, Kind kind) {
  const auto* const row = std::ranges::find_if(
      kRows, [&](const Row& r) { return r.name == name && (r.kinds & kind) != 0; });
  return row == std::end(kRows) ? std::nullopt : std::optional(row->gate);
}

std::string verdict(double value, Gate gate) {
  if (gate.bound == Bound::kNone) return "";
  const bool at_most = gate.bound == Bound::kAtMost;
  const bool met = at_most ? value <= gate.value : value >= gate.value;
  return fmt::format("{} {:.2f}  {}", at_most ? "<=" : ">=", gate.value, met ? "met" : "MISSED");
}

}  // namespace weft::bench
