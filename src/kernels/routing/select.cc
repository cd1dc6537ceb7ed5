// SPDX-License-Identifier: Apache-2.0
#include <cassert>

#include "kernels/routing/routing.h"

namespace weft::routing {

#define WEFT_ROUTING(isa_bit, dtype, suffix)                                                    \
  void softmax_row_##suffix(const void*, std::int64_t, float*);                                 \
  void top_k_##suffix(const float*, std::int64_t, std::int64_t, std::uint64_t*, std::int32_t*); \
  void combine_row_##suffix(const CombineRow&);
#include "kernels/routing/kernels.inc"
#undef WEFT_ROUTING

namespace {

constexpr Kernels kTable[] = {
#define WEFT_ROUTING(isa_bit, dtype, suffix)           \
  {"routing_" #suffix,   isa::isa_bit,   DType::dtype, \
   softmax_row_##suffix, top_k_##suffix, combine_row_##suffix},
#include "kernels/routing/kernels.inc"
#undef WEFT_ROUTING
};

}  // namespace

std::span<const Kernels> kernels() { return kTable; }

const Kernels& select(DType type, isa::Set available) {
  const Kernels* best = nullptr;
  for (const Kernels& row : kTable) {
    if (row.type != type || (row.isa & ~(available | isa::kScalar))) continue;
    best = &row;
    break;
  }
  assert(best && "routing::select: no kernels for this type");
  return *best;
}

}  // namespace weft::routing
