// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/generic_moe.h"
#include "kernels/rows/scalar.h"

namespace weft::rows {
namespace {

template <class T>
struct Moe : Scalar<T> {
  using Rows = Scalar<T>;
  using typename Rows::Bytes;
  using typename Rows::F;
  using typename Rows::Line;

  template <class Count>
  static Line load_floats(const float* p, Count count) {
    return Rows::load_f32(p, count);
  }
  static F larger(F a, F b) { return a > b ? a : b; }
  static F smaller(F a, F b) { return a < b ? a : b; }
  static F magnitude(F x) { return std::fabs(x); }
  static Bytes nearest_bytes(const Line& x) {
    Bytes r;
    for (int i = 0; i < Rows::kRegs; ++i) r.v[i] = Rows::nearest(x.v[i]);
    return r;
  }
  static Line group_max(Line x) {
    for (int step = kGroup / 2; step >= 1; step /= 2)
      for (int i = 0; i < Rows::kRegs; ++i)
        if (i % kGroup < step) x.v[i] = larger(x.v[i], x.v[i + step]);
    for (int i = 0; i < Rows::kRegs; ++i) x.v[i] = x.v[i - i % kGroup];
    return x;
  }
  static Line load_groups(const U16* p, int groups) {
    Line r{};
    for (int i = 0; i < groups * kGroup; ++i) r.v[i] = T::widen(p[i / kGroup]);
    return r;
  }
};

}  // namespace

WEFT_ROWS_DEFINE_MOE(float16_scalar, Moe<Fp16Bits>, Moe<Fp16Bits>)
WEFT_ROWS_DEFINE_MOE(bfloat16_scalar, Moe<Bf16Bits>, Moe<Bf16Bits>)

}  // namespace weft::rows
