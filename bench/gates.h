// SPDX-License-Identifier: Apache-2.0
// What the measurements must reach. The numbers are in gates.inc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/isa.h"

namespace weft::bench {

/// Kinds of machine, told apart by the instruction sets in use (WEFT_ISA caps them). One bit each,
/// because a row of gates.inc can stand for several.
enum Kind : unsigned { kAvx2 = 1, kAvx512 = 2, kAmx = 4, kEvery = 7 };

/// kAmx with amxbf16, else kAvx512 with avx512bf16, else kAvx2: AVX-512 without BF16 multiplies
/// bfloat16 as AVX2 does.
Kind kind_of(isa::Set in_use);

enum class Bound { kNone, kAtLeast, kAtMost };

struct Gate {
  Bound bound = Bound::kNone;
  double value = 0;
};

/// The gate of this name on such a machine; nothing if there is no row for it.
std::optional<Gate> find_gate(std::string_view name, Kind kind);

/// ">= 1.85  met", "<= 20.00  MISSED", or nothing where there is no gate.
std::string verdict(double value, Gate gate);

}  // namespace weft::bench
