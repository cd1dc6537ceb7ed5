// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, and what the operator must do at least.
#pragma once

#include <string>
#include <vector>

#include "base/isa.h"
#include "kernels/peak/peak.h"
#include "weft/dtype.h"
#include "weft/status.h"

namespace weft::tools {

struct Machine {
  std::vector<peak::Peak> peaks;  ///< of one core
  peak::Bandwidth bandwidth{};    ///< of one core
  int cores = 1;                  ///< that this process may use
};
/// Takes one to two seconds.
Result<Machine> measure_machine(isa::Set available);

/// What a gemm kernel runs on, and how much of it there is.
struct GemmPeak {
  std::string name;           ///< "bf16 AMX / 4", "fp32 FMA", …
  double ops_per_second = 0;  ///< of one core
};
/// `type`: float16, bfloat16 or int8, as the kernel reads it.
GemmPeak gemm_peak(const Machine& machine, DType type, isa::Set available);

}  // namespace weft::tools
