// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/scalar.h"

#define WEFT_ACTIVATION_FLATTEN  // 400 KiB for nothing here
#include "kernels/activation/generic.h"

namespace weft::activation {
namespace {

template <class T>
struct Packing : Scalar<rows::Scalar<T>> {
  using Rows = rows::Scalar<T>;
  using typename Rows::Line;
  using typename Rows::Packed;

  static constexpr int kLinesAtOnce = 1;
  static Packed pack_away(const Line& x) {
    Packed r;
    for (int i = 0; i < Rows::kRegs; ++i) r.v[i] = narrow_away(x.v[i], T{});
    return r;
  }

 private:
  // A tie has zeros below the half of the last place: with a one there it is no tie, and nothing
  // else changes, except that infinity would be nan.
  static U16 narrow_away(float f, rows::Fp16Bits) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t finite = (bits & 0x7fffffffu) != 0x7f800000u;
    return rows::Fp16Bits::narrow(std::bit_cast<float>(bits | finite));
  }
  static U16 narrow_away(float f, rows::Bf16Bits) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return static_cast<U16>((nan ? bits | 0x400000u : bits + 0x8000u) >> 16);
  }
};

}  // namespace

WEFT_ACTIVATION_DEFINE(scalar, Packing<rows::Fp16Bits>, Packing<rows::Bf16Bits>)

}  // namespace weft::activation
