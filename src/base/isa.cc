// SPDX-License-Identifier: Apache-2.0
#include "base/isa.h"

#include <cpuid.h>
#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/env.h"

namespace weft::isa {
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};
Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}
constexpr bool bit(unsigned word, int index) { return (word >> index) & 1u; }

// Register state the operating system saves (XCR0): without it the instructions fault.
std::uint64_t saved_state() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

// AMX tile data must be asked for, once per process; the kernel then grows every thread's save
// area.
bool request_amx() {
  constexpr int kArchReqXcompPerm = 0x1023, kXfeatureTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
  return granted;
}

// Empty if the machine has what the row needs beyond its implied rows; else why not.
std::string_view refusal(Set row) {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven1 = cpuid(7, 1);
  const std::uint64_t saved = saved_state();
  constexpr std::uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  switch (row) {
    case kScalar:
      return "";
    case kAvx2:
      if (!bit(seven.ebx, 5) || !bit(one.ecx, 12) || !bit(one.ecx, 29))
        return "the CPU lacks AVX2, FMA or F16C";
      return (saved & kYmm) == kYmm ? "" : "the OS does not save the ymm registers";
    case kAvx512:
      if (!bit(seven.ebx, 16) || !bit(seven.ebx, 17) || !bit(seven.ebx, 30) || !bit(seven.ebx, 31))
        return "the CPU lacks AVX-512 F, DQ, BW or VL";
      return (saved & kZmm) == kZmm ? "" : "the OS does not save the zmm registers";
    case kAvx512Vnni:
      return bit(seven.ecx, 11) ? "" : "the CPU lacks AVX-512 VNNI";
    case kAvx512Bf16:
      return bit(seven1.eax, 5) ? "" : "the CPU lacks AVX-512 BF16";
    case kAmxInt8:
    case kAmxBf16:
      if (!bit(seven.edx, 24) || !bit(seven.edx, row == kAmxInt8 ? 25 : 22))
        return row == kAmxInt8 ? "the CPU lacks AMX-INT8" : "the CPU lacks AMX-BF16";
      // Every CPU with AMX-BF16 has it; a hypervisor may hide it.
      if (row == kAmxBf16 && !bit(seven.edx, 23))
        return "the CPU lacks AVX-512 FP16, which the kernels of AMX-BF16 use";
      if ((saved & kTiles) != kTiles) return "the OS does not save the AMX tiles";
      return request_amx() ? "" : "the OS refused AMX tile data (arch_prctl)";
    default:
      return "unknown";
  }
}

constexpr struct {
  Set bit;
  std::string_view name;
  Set implies;
} kTable[] = {
#define WEFT_ISA(enumerator, name, implies) {enumerator, name, implies},
#include "base/isa.inc"
#undef WEFT_ISA
};

}  // namespace

const std::vector<Row>& rows() {
  static const std::vector<Row> table = [] {
    std::vector<Row> result;
    Set have = 0;
    for (const auto& row : kTable) {
      std::string_view reason = refusal(row.bit);
      if (reason.empty() && (row.implies & ~have))
        reason = "the machine lacks an instruction set that this one builds on";
      if (reason.empty()) have |= row.bit;
      result.push_back({row.bit, row.name, row.implies, reason.empty(), reason});
    }
    return result;
  }();
  return table;
}

Set available() {
  Set set = 0;
  for (const Row& row : rows())
    if (row.available) set |= row.bit;
  return set;
}

Result<Set> capped(std::string_view name) {
  const std::string cap = name.empty() ? env::text("WEFT_ISA") : std::string(name);
  const std::string_view source = name.empty() ? "environment variable WEFT_ISA: " : "";
  if (cap.empty() || cap == "amx") return available();
  std::string known = "amx";
  for (const Row& row : rows()) {
    known += fmt::format(", {}", row.name);
    if (row.name != cap) continue;
    if (row.available) return row.bit | row.implies;
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("{}instruction set \"{}\" cannot be used here: {}; this machine has {}", source,
                    cap, row.reason, names(available())));
  }
  return Status(StatusCode::kInvalidArgument,
                fmt::format("{}\"{}\" is not an instruction set weft knows; use one of {}", source,
                            cap, known));
}

std::string names(Set set) {
  std::string text;
  for (auto row = rows().rbegin(); row != rows().rend(); ++row) {
    if (!(set & row->bit)) continue;
    if (!text.empty()) text += ' ';
    text += row->name;
  }
  return text;
}

}  // namespace weft::isa
