// SPDX-License-Identifier: Apache-2.0
// Plain C++: what every machine has. Written so that a compiler can vectorise the loops over a
// line with whatever its baseline offers. Included by the scalar files of the families alone.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/rows/generic.h"

namespace weft::rows {
namespace {

// Where `condition` holds a, else b. Masks, because compilers turn a choice between a
// floating-point result and another into a branch, which keeps the loops over a line from being
// vectorised.
inline std::int32_t choose(bool condition, std::int32_t a, std::int32_t b) {
  const std::int32_t mask = -static_cast<std::int32_t>(condition);
  return (a & mask) | (b & ~mask);
}

// No denormal floats on the way: right under any MXCSR, as the F16C instructions are.
struct Fp16Bits {
  static float widen(U16 h) {
    const std::int32_t magnitude = h & 0x7fff;
    const auto subnormal = std::bit_cast<std::int32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    const std::int32_t normal = (magnitude << 13) + (112 << 23);
    const std::int32_t quiet = choose(magnitude > 0x7c00, 0x400000, 0);
    const std::int32_t special = (magnitude << 13) | 0x7f800000 | quiet;
    const std::int32_t finite = choose(magnitude < 0x400, subnormal, normal);
    const std::int32_t bits = choose(magnitude < 0x7c00, finite, special);
    return std::bit_cast<float>((h & 0x8000u) << 16 | static_cast<std::uint32_t>(bits));
  }
  static U16 narrow(float f) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const auto a = static_cast<std::int32_t>(bits & 0x7fffffffu);
    // Adding 1/2 leaves the last place of the sum at 2^-24, the last place of a subnormal.
    const std::int32_t subnormal =
        std::bit_cast<std::int32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3f000000;
    const std::int32_t rebased = a - (112 << 23);
    const std::int32_t normal = (rebased + 0xfff + ((rebased >> 13) & 1)) >> 13;
    const std::int32_t nan = 0x7e00 | ((a >> 13) & 0x3ff);
    const std::int32_t special = choose(a > 0x7f800000, nan, 0x7c00);
    const std::int32_t finite = choose(a < 0x38800000, subnormal, normal);
    const std::int32_t h = choose(a < 0x47800000, finite, special);
    return static_cast<U16>((bits >> 16 & 0x8000u) | static_cast<std::uint32_t>(h));
  }
  static constexpr bool kRoundEachStep = true;
};

struct Bf16Bits {
  static float widen(U16 h) { return std::bit_cast<float>(std::uint32_t{h} << 16); }
  static U16 narrow(float f) {
    const auto bits = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    const std::uint32_t quiet = bits | 0x400000u;
    return static_cast<U16>(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
  }
  static constexpr bool kRoundEachStep = false;
};

inline int size(Whole) { return static_cast<int>(kLine); }
inline int size(int count) { return count; }

// Lines of floats, whatever T is.
struct Floats {
  static constexpr bool kStreams = false;
  using F = float;
  static constexpr int kRegs = 32;
  struct Line {
    F v[kRegs];
  };
  struct Bytes {
    std::int8_t v[kRegs];
  };

  static F add(F a, F b) { return a + b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return std::fma(a, b, c); }
  static F broadcast(float f) { return f; }
  static void lanes(const Line& x, float* lane) {
    for (int i = 0; i < kRegs; ++i) lane[i] = x.v[i];
  }

  template <class Count>
  static Line load_f32(const float* p, Count count) {
    Line r{};
    for (int i = 0; i < size(count); ++i) r.v[i] = p[i];
    return r;
  }
  template <class Count>
  static Line load_s32(const std::int32_t* p, Count count) {
    Line r{};
    for (int i = 0; i < size(count); ++i) r.v[i] = static_cast<float>(p[i]);
    return r;
  }
  template <class Count>
  static Line load_s8(const std::int8_t* p, Count count) {
    Line r{};
    for (int i = 0; i < size(count); ++i) r.v[i] = p[i];
    return r;
  }
  template <class Count>
  static Line load_s4(const std::uint8_t* p, Count count) {
    Line r{};
    for (int i = 0; i < size(count); ++i) {
      const int nibble = (p[i / 2] >> (i % 2 * 4)) & 15;
      r.v[i] = static_cast<float>((nibble ^ 8) - 8);
    }
    return r;
  }
  template <class Count>
  static void store_f32(float* p, const Line& x, Count count) {
    for (int i = 0; i < size(count); ++i) p[i] = x.v[i];
  }

  // The nearest int8, ties to even; nan gives 0.
  static std::int8_t nearest(float x) {
    // Comparisons with nan are false; the limits are integers, so they may come first.
    const float above = x > -128.0f ? x : x <= -128.0f ? -128.0f : 0.0f;
    const float within = above < 127.0f ? above : 127.0f;
    // The last place of the sum is 1: the addition rounds to the nearest integer, ties to even.
    return static_cast<std::int8_t>(std::bit_cast<std::int32_t>(within + 0x1.8p23f));
  }
  static Bytes to_bytes(const Line& x) {
    Bytes r;
    for (int i = 0; i < kRegs; ++i) {
      r.v[i] = nearest(Fp16Bits::widen(Fp16Bits::narrow(x.v[i])));
    }
    return r;
  }
  template <class Count>
  static void store(std::int8_t* p, const Bytes& x, Count count) {
    for (int i = 0; i < size(count); ++i) p[i] = x.v[i];
  }
  static void stream(std::int8_t* p, const Bytes& x) { store(p, x, Whole{}); }
};

template <class T>
struct Scalar : Floats {
  using Element = U16;
  static constexpr bool kRoundEachStep = T::kRoundEachStep;
  struct Packed {
    U16 v[kRegs];
  };
  using Floats::store;
  using Floats::stream;

  static Packed pack(const Line& x) {
    Packed r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = T::narrow(x.v[i]);
    return r;
  }
  static Line unpack(const Packed& x) {
    Line r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = T::widen(x.v[i]);
    return r;
  }
  template <class Count>
  static Packed load_packed(const U16* p, Count count) {
    Packed r{};
    for (int i = 0; i < size(count); ++i) r.v[i] = p[i];
    return r;
  }
  template <class Count>
  static Line load(const U16* p, Count count) {
    return unpack(load_packed(p, count));
  }
  static Line fill(const U16* p) {
    Line r;
    for (int i = 0; i < kRegs; ++i) r.v[i] = T::widen(*p);
    return r;
  }
  template <class Count>
  static void store(U16* p, const Packed& x, Count count) {
    for (int i = 0; i < size(count); ++i) p[i] = x.v[i];
  }
  static void stream(U16* p, const Packed& x) { store(p, x, Whole{}); }
};

struct Float32 : InFloats<Floats> {
  static void stream(float* p, const Line& x) { store(p, x, Whole{}); }
};

}  // namespace
}  // namespace weft::rows
