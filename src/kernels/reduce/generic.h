// SPDX-License-Identifier: Apache-2.0
// The reductions, once, over the compiler's own vectors: elements of any type have their operators
// there, so an instruction set is no more than flags and a store that goes past the cache. Included
// by exactly one file per instruction set; everything is in an anonymous namespace, so that code
// compiled for one instruction set can never be linked into the path of another.
//
// The file that includes it defines, in namespace weft::reduction, anonymous:
//   constexpr bool kStreams              whether stream_line goes past the cache
//   void stream_line(void* to, const void* from)   64 bytes, `to` is aligned
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/reduce/reduce.h"

namespace weft::reduction {
namespace {

constexpr std::int64_t kLineBytes = 64;

template <class T>
struct LineOf {
  typedef T Type __attribute__((vector_size(kLineBytes)));
};

// Signed integers wrap, so they are added and multiplied without their sign.
template <class T, bool = std::is_integral_v<T>>
struct Wrapping {
  using Type = std::make_unsigned_t<T>;
};
template <class T>
struct Wrapping<T, false> {
  using Type = T;
};

// Of a line of T or of one T: the operators are spelled alike. By reference, because how a line is
// passed by value depends on the instruction set.
template <Op kOp, class V>
inline void combine(V& a, const V& b) {
  if constexpr (kOp == Op::kSum || kOp == Op::kAvg) a = static_cast<V>(a + b);
  if constexpr (kOp == Op::kProd) a = static_cast<V>(a * b);
  // A nan in a is not equal to itself; a nan in b makes the first comparison false.
  if constexpr (kOp == Op::kMax) a = ((a > b) | (a != a)) ? a : b;
  if constexpr (kOp == Op::kMin) a = ((a < b) | (a != a)) ? a : b;
  if constexpr (kOp == Op::kBand) a = static_cast<V>(a & b);
  if constexpr (kOp == Op::kBor) a = static_cast<V>(a | b);
  if constexpr (kOp == Op::kBxor) a = static_cast<V>(a ^ b);
}

// Of unsigned 16-bit numbers, which C++ multiplies as ints, whose product may not fit.
template <Op kOp>
inline void combine(std::uint16_t& a, const std::uint16_t& b) {
  if constexpr (kOp == Op::kProd) {
    a = static_cast<std::uint16_t>(std::uint32_t{a} * b);
  } else {
    combine<kOp, std::uint16_t>(a, b);
  }
}

// What is left to do when all elements of a place are combined. V: a line of T, or a T.
template <Op kOp, class T, class V>
inline void conclude(V& sum, const Reduce& a) {
  if constexpr (kOp == Op::kAvg) sum = sum * (T{1} / static_cast<T>(a.count));
}

template <Op kOp, class T>
inline void reduce_elements(const Reduce& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t j = begin; j < end; ++j) {
    T sum, next;
    std::memcpy(&sum, static_cast<const char*>(a.src[0]) + j * sizeof(T), sizeof sum);
    for (int r = 1; r < a.count; ++r) {
      std::memcpy(&next, static_cast<const char*>(a.src[r]) + j * sizeof(T), sizeof next);
      combine<kOp>(sum, next);
    }
    conclude<kOp, T>(sum, a);
    std::memcpy(static_cast<char*>(a.dst) + j * sizeof(T), &sum, sizeof sum);
  }
}

template <Op kOp, class T, bool kStream>
inline std::int64_t reduce_lines(const Reduce& a, std::int64_t begin) {
  using Line = typename LineOf<T>::Type;
  constexpr std::int64_t kElements = kLineBytes / sizeof(T);
  std::int64_t j = begin;
  for (; j + kElements <= a.n; j += kElements) {
    Line sum, next;
    std::memcpy(&sum, static_cast<const char*>(a.src[0]) + j * sizeof(T), sizeof sum);
    for (int r = 1; r < a.count; ++r) {
      std::memcpy(&next, static_cast<const char*>(a.src[r]) + j * sizeof(T), sizeof next);
      combine<kOp>(sum, next);
    }
    conclude<kOp, T>(sum, a);
    char* const to = static_cast<char*>(a.dst) + j * sizeof(T);
    if constexpr (kStream)
      stream_line(to, &sum);
    else
      std::memcpy(to, &sum, sizeof sum);
  }
  return j;
}

template <Op kOp, class Element>
void reduce(const Reduce& a) {
  constexpr bool kWraps = kOp == Op::kSum || kOp == Op::kProd;
  using T = std::conditional_t<kWraps, typename Wrapping<Element>::Type, Element>;
  std::int64_t j = 0;
  const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(a.dst) % kLineBytes);
  // An array between two of its elements' boundaries never meets a line.
  if (kStreams && a.stream && past % static_cast<std::int64_t>(sizeof(T)) == 0) {
    if (past != 0) {
      const auto before = (kLineBytes - past) / static_cast<std::int64_t>(sizeof(T));
      j = before < a.n ? before : a.n;
      reduce_elements<kOp, T>(a, 0, j);
    }
    j = reduce_lines<kOp, T, true>(a, j);
  } else {
    j = reduce_lines<kOp, T, false>(a, j);
  }
  reduce_elements<kOp, T>(a, j, a.n);
}

// A sum of one is a copy; as bytes it needs no alignment.
void copy(const void* src, void* dst, std::int64_t bytes, bool stream) {
  if (bytes == 0) return;  // memcpy takes no null pointers even then
  if (!kStreams || !stream) {
    std::memcpy(dst, src, static_cast<std::size_t>(bytes));
    return;
  }
  reduce<Op::kSum, std::uint8_t>({&src, 1, bytes, dst, true});
}

template <Op kOp, class T>
constexpr ReduceFn function() {
  constexpr bool kOfFloats = kOp == Op::kAvg;
  constexpr bool kOfIntegers = kOp == Op::kBand || kOp == Op::kBor || kOp == Op::kBxor;
  if constexpr (std::is_integral_v<T> ? kOfFloats : kOfIntegers)
    return nullptr;
  else
    return reduce<kOp, T>;
}

}  // namespace
}  // namespace weft::reduction

// The functions of one line of kernels.inc.
#define WEFT_REDUCE_DEFINE(suffix, type)                                                    \
  extern const ReduceFn reduce_##suffix[kOps];                                              \
  constexpr ReduceFn reduce_##suffix[kOps] = {                                              \
      function<Op::kSum, type>(), function<Op::kProd, type>(), function<Op::kMax, type>(),  \
      function<Op::kMin, type>(), function<Op::kAvg, type>(),  function<Op::kBand, type>(), \
      function<Op::kBor, type>(), function<Op::kBxor, type>()};
