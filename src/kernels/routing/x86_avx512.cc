// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/x86_avx512.h"

#include "kernels/routing/generic.h"

namespace weft::routing {
namespace {

template <class Rows, bool kSteps>
struct Avx512 : activation::Avx512<Rows> {
  static constexpr bool kRoundEachStep = kSteps;
  static std::uint32_t above(const typename Rows::Line& x, __m512 t) {
    const std::uint32_t low = _mm512_cmp_ps_mask(x.v[0], t, _CMP_GT_OQ);
    const std::uint32_t high = _mm512_cmp_ps_mask(x.v[1], t, _CMP_GT_OQ);
    return low | high << 16;
  }
};
using Fp16 = Avx512<rows::Fp16, true>;
using Bf16 = Avx512<rows::Bf16, false>;
using Float32 = Avx512<rows::Float32, false>;

}  // namespace

WEFT_ROUTING_DEFINE(float16_avx512, Fp16)
WEFT_ROUTING_DEFINE(bfloat16_avx512, Bf16)
WEFT_ROUTING_DEFINE(float32_avx512, Float32)

}  // namespace weft::routing
