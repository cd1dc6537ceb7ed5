// SPDX-License-Identifier: Apache-2.0
// Plain loops: what every machine can run, and the arithmetic the fp32 kernels of AVX2 and AVX-512
// repeat bit by bit (one fused multiply-add per k).
#include <math.h>

#include "base/float16.h"
#include "kernels/gemm/generic.h"

namespace weft::gemm {
namespace {

using Byte = signed char;

struct Word {
  using Vec = std::uint32_t;
  static constexpr int kLanes = 1;
  static constexpr int kHeaderBytes = 0, kBHeaderBytes = 0;
  static Vec zero() { return 0; }
  static Vec load(const char* p) {
    Vec x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  static Vec load_part(const char* p, int bytes) {
    Vec x = 0;
    __builtin_memcpy(&x, p, bytes);
    return x;
  }
  static void store(char* p, Vec x) { __builtin_memcpy(p, &x, sizeof(x)); }
  template <int lanes>
  static void store_lanes(char* p, Vec x) {
    store(p, x);
  }
  static Vec broadcast(const char* p) { return load(p); }
  static void transpose(Vec*) {}
  static Vec add_header(Vec sum, Vec) { return sum; }
};

struct F32Dot : Word {
  using Acc = float;
  static constexpr int kStep = 1;
  static Acc zero_acc() { return 0; }
  static Acc load_acc(const char* p) { return as_float(load(p)); }
  static void store_acc(char* p, Acc x) { store(p, as_word(x)); }
  static Acc correct(Acc acc, const char*) { return acc; }
  // The C function: the overload of std::fma is an inline function, which would be a weak symbol.
  static Acc dot(Acc acc, Vec a, Vec b) { return ::fmaf(as_float(a), as_float(b), acc); }
  static float as_float(Vec x) { return __builtin_bit_cast(float, x); }
  static Vec as_word(float x) { return __builtin_bit_cast(Vec, x); }
};

struct S8Dot : Word {
  using Acc = std::uint32_t;  // sums wrap as the vector instructions' do
  static constexpr int kStep = 4;
  static Acc zero_acc() { return 0; }
  static Acc load_acc(const char* p) { return load(p); }
  static void store_acc(char* p, Acc x) { store(p, x); }
  static Acc correct(Acc acc, const char*) { return acc; }
  static Acc dot(Acc acc, Vec a, Vec b) {
    for (int shift = 0; shift < 32; shift += 8)
      acc += static_cast<Acc>(static_cast<Byte>(a >> shift) * static_cast<Byte>(b >> shift));
    return acc;
  }
};

// One 16-bit float, widened: exact.
template <bool fp16>
struct F32Source : Word {
  static constexpr int kBytes = 2, kStep = 1;
  static void expand(Vec raw, Vec (&out)[2]) {
    out[0] = widen(raw & 0xffff);
    out[1] = widen(raw >> 16);
  }
  static Vec load_n(const char* p, std::int64_t) { return widen(load_part(p, kBytes)); }
  static Vec load_n(const char* p, std::int64_t, int, int) { return widen(load_part(p, kBytes)); }

 private:
  static Vec widen(Vec h) {
    return fp16 ? F32Dot::as_word(fp16_to_f32(static_cast<std::uint16_t>(h))) : h << 16;
  }
};
using F16 = F32Source<true>;
using Bf16 = F32Source<false>;

struct S8 : Word {
  static constexpr int kBytes = 1, kStep = 4;
  static void expand(Vec raw, Vec (&out)[1]) { out[0] = raw; }
  static Vec load_n(const char* p, std::int64_t stride_bytes) {
    return load_n(p, stride_bytes, kStep, 1);
  }
  static Vec load_n(const char* p, std::int64_t stride_bytes, int rows, int) {
    Vec x = 0;
    for (int i = 0; i < rows; ++i)
      x |= Vec{static_cast<unsigned char>(p[i * stride_bytes])} << (8 * i);
    return x;
  }
};

}  // namespace

void tile_f32_scalar(const Tile& t) { tile<F32Dot, 4, 16>(t); }
void tile_s8_scalar(const Tile& t) { tile<S8Dot, 4, 16>(t); }
void pack_a_f16_scalar(const PackA& args) { pack_a<F16, 4>(args); }
void pack_b_f16_scalar(const PackB& args) { pack_b<F16, 16>(args); }
void pack_bt_f16_scalar(const PackB& args) { pack_bt<F16, 16>(args); }
void pack_a_bf16_scalar(const PackA& args) { pack_a<Bf16, 4>(args); }
void pack_b_bf16_scalar(const PackB& args) { pack_b<Bf16, 16>(args); }
void pack_bt_bf16_scalar(const PackB& args) { pack_bt<Bf16, 16>(args); }
void pack_a_s8_scalar(const PackA& args) { pack_a<S8, 4>(args); }
void pack_b_s8_scalar(const PackB& args) { pack_b<S8, 16>(args); }
void pack_bt_s8_scalar(const PackB& args) { pack_bt<S8, 16>(args); }

}  // namespace weft::gemm
