// SPDX-License-Identifier: Apache-2.0
// The peak family: what one core of this machine can do at most, measured in the calling thread.
// Benchmarks and tools print every speed beside these.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/isa.h"
#include "weft/status.h"

namespace weft::peak {

struct Peak {
  std::string_view name;  ///< "fp32 FMA", "bf16 dot", "bf16 AMX", "int8 VNNI" or "int8 AMX"
  isa::Set isa;           ///< the row of isa.inc that was measured
  double ops_per_second;  ///< a multiply and an add are two
};

/// One entry per name that `available` allows, with the best of these ISAs: register-only loops on
/// random data (on zeros AMX runs 25% faster), the median of 7 runs that take about seconds_each
/// together.
std::vector<Peak> measure_compute_peaks(isa::Set available, double seconds_each);

/// The entry's speed, 0 if there is none of this name.
double ops_per_second(std::span<const Peak> peaks, std::string_view name);

/// Bytes per second of one thread, far outside the caches.
struct Bandwidth {
  double read;  ///< of 256 MiB
  double copy;  ///< bytes read + bytes written, with plain or non-temporal stores: the faster
};
/// Takes about half a second and 256 MiB. Errors: kOutOfMemory.
Result<Bandwidth> measure_bandwidth(isa::Set available);

/// Seconds to read this memory once in the fastest way known here; the median of 7 times.
double measure_read_of(const void* data, std::int64_t bytes);

}  // namespace weft::peak
