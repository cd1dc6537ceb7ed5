// SPDX-License-Identifier: Apache-2.0
#include "jobs/machine.h"

#include "base/topology.h"
#include "kernels/gemm/gemm.h"

namespace weft::tools {

Result<Machine> measure_machine(isa::Set available) {
  Machine machine;
  machine.cores = topology().usable_cpus;
  machine.peaks = peak::measure_compute_peaks(available, 0.1);
  WEFT_ASSIGN_OR_RETURN(machine.bandwidth, peak::measure_bandwidth(available));
  return machine;
}

GemmPeak gemm_peak(const Machine& machine, DType type, isa::Set available) {
  const auto of = [&](std::string_view name) { return peak::ops_per_second(machine.peaks, name); };
  const gemm::Kernel* kernel = gemm::select(type, available);
  const isa::Set isa = kernel == nullptr ? isa::kScalar : kernel->isa;
  // A float16 product is four bfloat16 products on AMX.
  if (type == DType::kFloat16 && isa == isa::kAmxBf16) return {"bf16 AMX / 4", of("bf16 AMX") / 4};
  if (type == DType::kBFloat16 && isa == isa::kAmxBf16) return {"bf16 AMX", of("bf16 AMX")};
  if (type == DType::kBFloat16 && isa == isa::kAvx512Bf16) return {"bf16 dot", of("bf16 dot")};
  if (type == DType::kInt8 && isa == isa::kAmxInt8) return {"int8 AMX", of("int8 AMX")};
  if (type == DType::kInt8 && isa == isa::kAvx512Vnni) return {"int8 VNNI", of("int8 VNNI")};
  return {"fp32 FMA", of("fp32 FMA")};
}

}  // namespace weft::tools
