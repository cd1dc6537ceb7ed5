// SPDX-License-Identifier: Apache-2.0
// Which instruction sets this process may use. Decided by capability bits, never by CPU model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weft/status.h"

namespace weft::isa {

/// Bits, one per row of isa.inc.
using Set = std::uint32_t;
inline constexpr Set kScalar = 1u << 0;
inline constexpr Set kAvx2 = 1u << 1;
inline constexpr Set kAvx512 = 1u << 2;
inline constexpr Set kAvx512Vnni = 1u << 3;
inline constexpr Set kAvx512Bf16 = 1u << 4;
inline constexpr Set kAmxInt8 = 1u << 5;
inline constexpr Set kAmxBf16 = 1u << 6;

struct Row {
  Set bit;
  std::string_view name;
  Set implies;
  bool available;  ///< on this CPU, under this operating system, with what it implies
  std::string_view
      reason;  ///< why not, e.g. "the CPU has no avx512_bf16" or "the OS refused AMX tile data"
};

/// All rows, with what this machine says. Asks the OS for AMX tile data once per process
/// (arch_prctl).
const std::vector<Row>& rows();

/// Everything available here.
Set available();

/// available(), capped: "avx2" keeps avx2 and what it implies, "avx512vnni" keeps avx512vnni and
/// what it implies, and so on; "amx" keeps all. Empty name: WEFT_ISA, else no cap. An unknown name,
/// or one this machine does not have, is kInvalidArgument with the names that could be used.
Result<Set> capped(std::string_view name);

/// "amxbf16 amxint8 avx512bf16 … scalar", best first.
std::string names(Set set);

}  // namespace weft::isa
