// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/x86_avx2.h"

#include "kernels/routing/generic.h"

namespace weft::routing {
namespace {

template <class Rows, bool kSteps>
struct Avx2 : activation::Avx2<Rows> {
  static constexpr bool kRoundEachStep = kSteps;
  static std::uint32_t above(const typename Rows::Line& x, __m256 t) {
    std::uint32_t bits = 0;
    for (int i = 0; i < Rows::kRegs; ++i) {
      const int of_register = _mm256_movemask_ps(_mm256_cmp_ps(x.v[i], t, _CMP_GT_OQ));
      bits |= static_cast<std::uint32_t>(of_register) << (8 * i);
    }
    return bits;
  }
};
using Fp16 = Avx2<rows::Fp16, true>;
using Bf16 = Avx2<rows::Bf16, false>;
using Float32 = Avx2<rows::Float32, false>;

}  // namespace

WEFT_ROUTING_DEFINE(float16_avx2, Fp16)
WEFT_ROUTING_DEFINE(bfloat16_avx2, Bf16)
WEFT_ROUTING_DEFINE(float32_avx2, Float32)

}  // namespace weft::routing
