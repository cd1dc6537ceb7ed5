// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/gemm.h"

namespace weft::gemm {

#define WEFT_GEMM(isa, type, acc, mr, nr, k_step, a_bytes, b_bytes, a_header, b_header, tile, \
                  pack_a, pack_b, pack_bt, enter, leave)                                      \
  void tile(const Tile&);                                                                     \
  void pack_a(const PackA&);                                                                  \
  void pack_b(const PackB&);                                                                  \
  void pack_bt(const PackB&);
#include "kernels/gemm/kernels.inc"
#undef WEFT_GEMM
void enter_amx();
void leave_amx();

namespace {

// The names of the rows mean rows of the other tables. A name that is in neither does not compile.
consteval isa::Set isa_bit(std::string_view name) {
#define WEFT_ISA(enumerator, row_name, implies) \
  if (name == row_name) return isa::enumerator;
#include "base/isa.inc"
#undef WEFT_ISA
  __builtin_unreachable();
}

consteval DType dtype_of(std::string_view name) {
#define WEFT_DTYPE(enumerator, row_name, bits, cann, torch, numpy, unit_roundoff) \
  if (name == row_name) return DType::enumerator;
#include "base/dtype.inc"
#undef WEFT_DTYPE
  __builtin_unreachable();
}

constexpr Kernel kKernels[] = {
#define WEFT_GEMM(isa, type, acc, mr, nr, k_step, a_bytes, b_bytes, a_header, b_header, tile, \
                  pack_a, pack_b, pack_bt, enter, leave)                                      \
  {"gemm_" #type "_" #type "_" #acc "_" #mr "x" #nr "x" #k_step "_" #isa,                     \
   isa_bit(#isa),                                                                             \
   dtype_of(#type),                                                                           \
   dtype_of(#type),                                                                           \
   dtype_of(#acc),                                                                            \
   mr,                                                                                        \
   nr,                                                                                        \
   k_step,                                                                                    \
   a_bytes,                                                                                   \
   b_bytes,                                                                                   \
   a_header,                                                                                  \
   b_header,                                                                                  \
   tile,                                                                                      \
   pack_a,                                                                                    \
   pack_b,                                                                                    \
   pack_bt,                                                                                   \
   enter,                                                                                     \
   leave},
#include "kernels/gemm/kernels.inc"
#undef WEFT_GEMM
};

}  // namespace

std::span<const Kernel> kernels() { return kKernels; }

const Kernel* select(DType type, isa::Set available) {
  for (const Kernel& kernel : kKernels)
    if (kernel.a == type && (kernel.isa & available)) return &kernel;
  return nullptr;
}

}  // namespace weft::gemm
