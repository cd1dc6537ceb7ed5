// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/scalar.h"

#include "kernels/routing/generic.h"

namespace weft::routing {
namespace {

template <class Rows, bool kSteps>
struct Scalar : activation::Scalar<Rows> {
  static constexpr bool kRoundEachStep = kSteps;
  static std::uint32_t above(const typename Rows::Line& x, float t) {
    std::uint32_t bits = 0;
    for (int i = 0; i < Rows::kRegs; ++i) bits |= static_cast<std::uint32_t>(x.v[i] > t) << i;
    return bits;
  }
};
using Fp16 = Scalar<rows::Scalar<rows::Fp16Bits>, true>;
using Bf16 = Scalar<rows::Scalar<rows::Bf16Bits>, false>;
using Float32 = Scalar<rows::Float32, false>;

}  // namespace

WEFT_ROUTING_DEFINE(float16_scalar, Fp16)
WEFT_ROUTING_DEFINE(bfloat16_scalar, Bf16)
WEFT_ROUTING_DEFINE(float32_scalar, Float32)

}  // namespace weft::routing
