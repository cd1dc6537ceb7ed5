// SPDX-License-Identifier: Apache-2.0
// The routing algorithms, once, over the vector wrappers V of the rows family with exp
// (kernels/rows/generic.h, kernels/activation/exp.h), in the order of the elements. Included by
// exactly one file per instruction set; everything is in an anonymous namespace, so that code
// compiled for one instruction set can never be linked into the path of another.
//
// The files here add to V
//   above(line, t)   32 bits: which elements are greater than all of the F t
#pragma once

#include <cstdint>

#include "kernels/activation/exp.h"
#include "kernels/routing/routing.h"
#include "kernels/rows/generic.h"

namespace weft::routing {
namespace {

using rows::kLine;
using rows::Whole;

constexpr float kInfinity = __builtin_inff();

inline std::int64_t lines_of(std::int64_t n) { return (n + kLine - 1) / kLine; }

// x[l] becomes op(x[l], x[l ^ half]) for half = 16 … 1; the result is x[0].
template <class Op>
inline float tree(float* x, const Op& op) {
  for (int half = 16; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) x[l] = op(x[l], x[l + half]);
  return x[0];
}
template <class V, class Op>
inline float over_lanes(const typename V::Line& line, const Op& op) {
  float lane[kLine];
  V::store_f32(lane, line, Whole{});
  return tree(lane, op);
}

// x as floats; the last line is filled up with what neither the maximum nor the sum sees.
template <class V>
inline void widen(const typename V::Element* x, std::int64_t n, float* p) {
  std::int64_t j = 0;
  for (; j + kLine <= n; j += kLine) V::store_f32(p + j, V::load(x + j, Whole{}), Whole{});
  if (j == n) return;
  V::store_f32(p + j, V::load(x + j, static_cast<int>(n - j)), Whole{});
  for (std::int64_t i = n; i < j + kLine; ++i) p[i] = -kInfinity;
}

template <class V>
inline float greatest(const float* p, std::int64_t lines) {
  typename V::Line most;
  for (auto& m : most.v) m = V::broadcast(-kInfinity);
  for (std::int64_t i = 0; i < lines; ++i) {
    const auto x = V::load_f32(p + i * kLine, Whole{});
    for (int r = 0; r < V::kRegs; ++r) most.v[r] = V::larger(x.v[r], most.v[r]);  // not if nan
  }
  return over_lanes<V>(most, [](float a, float b) { return a > b ? a : b; });
}

template <class V>
inline void softmax_row(const void* x, std::int64_t n, float* p) {
  const std::int64_t lines = lines_of(n);
  widen<V>(static_cast<const typename V::Element*>(x), n, p);
  const auto least = V::broadcast(-greatest<V>(p, lines));
  typename V::Line sum;
  for (auto& s : sum.v) s = V::broadcast(0.0f);
  for (std::int64_t i = 0; i < lines; ++i) {
    auto e = V::load_f32(p + i * kLine, Whole{});
    for (auto& f : e.v) f = V::add(f, least);
    activation::exp<V>(e.v);
    sum = rows::add<V>(sum, e);
    V::store_f32(p + i * kLine, e, Whole{});
  }
  const float s = over_lanes<V>(sum, [](float a, float b) { return a + b; });
  for (std::int64_t i = 0; i < lines; ++i) {
    auto e = V::load_f32(p + i * kLine, Whole{});
    for (auto& f : e.v) f = V::div(f, V::broadcast(s));
    V::store_f32(p + i * kLine, e, Whole{});
  }
}

// Keys order elements by one comparison of integers: the larger is the better. The value's bits are
// above, made to rise with it, 0 for nan; below them the index, larger for lower ones.
inline std::uint64_t key_of(const float* values, std::int64_t i) {
  const float value = values[i] + 0.0f;  // -0 becomes 0
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rising = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return std::uint64_t{value == value ? rising : 0} << 32 | ~static_cast<std::uint32_t>(i);
}
inline std::int32_t index_of(std::uint64_t key) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(key));
}

// The best k so far, in order: for so few that moving them costs less than a heap's mispredictions.
constexpr std::int64_t kMostSorted = 32;
struct Sorted {
  static std::uint64_t worst(const std::uint64_t* keys, std::int64_t k) { return keys[k - 1]; }
  static void replace(std::uint64_t* keys, std::int64_t k, std::uint64_t key) {
    std::int64_t at = k - 1;
    for (; at > 0 && keys[at - 1] < key; --at) keys[at] = keys[at - 1];
    keys[at] = key;
  }
  static void begin(std::uint64_t* keys, std::int64_t k) {
    for (std::int64_t size = 2; size <= k; ++size) replace(keys, size, keys[size - 1]);
  }
  static void end(std::uint64_t*, std::int64_t) {}
};

// A heap with the worst at its root.
struct Heap {
  static std::uint64_t worst(const std::uint64_t* keys, std::int64_t) { return keys[0]; }
  static void replace(std::uint64_t* keys, std::int64_t k, std::uint64_t key) {
    sift_down(keys, 0, k, key);
  }
  static void begin(std::uint64_t* keys, std::int64_t k) {
    for (std::int64_t i = k / 2; i-- > 0;) sift_down(keys, i, k, keys[i]);
  }
  // The worst goes to the end, then the next one before it.
  static void end(std::uint64_t* keys, std::int64_t k) {
    for (std::int64_t size = k - 1; size > 0; --size) {
      const std::uint64_t last = keys[size];
      keys[size] = keys[0];
      sift_down(keys, 0, size, last);
    }
  }

 private:
  static void sift_down(std::uint64_t* keys, std::int64_t at, std::int64_t size,
                        std::uint64_t key) {
    for (std::int64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size) child += keys[child + 1] < keys[child];
      if (keys[child] >= key) break;
      keys[at] = keys[child];
    }
    keys[at] = key;
  }
};

// Only what is greater than the worst so far can enter: of equal ones the earlier is there already.
// That is little of a row, so the rest is passed over a line at a time.
template <class V, class Best>
inline void top_k_with(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* keys,
                       std::int32_t* index) {
  for (std::int64_t i = 0; i < k; ++i) keys[i] = key_of(values, i);
  Best::begin(keys, k);
  for (std::int64_t j = k; j < n; j += kLine) {
    const int count = static_cast<int>(n - j < kLine ? n - j : kLine);
    const auto line =
        count == kLine ? V::load_f32(values + j, Whole{}) : V::load_f32(values + j, count);
    const float worst = values[index_of(Best::worst(keys, k))];
    std::uint32_t found = worst == worst ? V::above(line, V::broadcast(worst)) : ~0u;
    if (count < kLine) found &= (std::uint32_t{1} << count) - 1;
    for (; found != 0; found &= found - 1) {
      const std::uint64_t key = key_of(values, j + __builtin_ctz(found));
      if (key > Best::worst(keys, k)) Best::replace(keys, k, key);
    }
  }
  Best::end(keys, k);
  for (std::int64_t i = 0; i < k; ++i) index[i] = index_of(keys[i]);
}

template <class V>
inline void top_k(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* keys,
                  std::int32_t* index) {
  if (k <= kMostSorted)
    top_k_with<V, Sorted>(values, n, k, keys, index);
  else
    top_k_with<V, Heap>(values, n, k, keys, index);
}

template <class V>
inline typename V::Line step(const typename V::Line& x) {
  if constexpr (V::kRoundEachStep)
    return V::unpack(V::pack(x));
  else
    return x;
}

template <class V, class Count>
inline typename V::Line load(const void* row, std::int64_t j, Count count) {
  return V::load(static_cast<const typename V::Element*>(row) + j, count);
}

template <class V>
inline void combine_row(const CombineRow& a) {
  rows::each_line<V>(static_cast<typename V::Element*>(a.out), a.n, a.store,
                     [&](std::int64_t j, auto count) {
                       const auto term = [&](std::int64_t r) {
                         auto t = load<V>(a.row[r], j, count);
                         if (a.bias) t = step<V>(rows::add<V>(t, load<V>(a.bias[r], j, count)));
                         if (a.scale) t = step<V>(rows::mul<V>(t, V::broadcast(a.scale[r])));
                         return t;
                       };
                       typename V::Line sum;
                       std::int64_t r = 0;
                       if (a.x1 || a.x2) {
                         sum = load<V>(a.x1 ? a.x1 : a.x2, j, count);
                         if (a.x1 && a.x2)
                           sum = step<V>(rows::add<V>(sum, load<V>(a.x2, j, count)));
                       } else if (a.count > 0) {
                         sum = term(r++);
                       } else {
                         for (auto& f : sum.v) f = V::broadcast(0.0f);
                       }
                       for (; r < a.count; ++r) sum = step<V>(rows::add<V>(sum, term(r)));
                       return V::pack(sum);
                     });
}

}  // namespace
}  // namespace weft::routing

// Defines the functions of one line of kernels.inc.
#define WEFT_ROUTING_DEFINE(suffix, V)                                                             \
  [[gnu::flatten]] void softmax_row_##suffix(const void* x, std::int64_t n, float* p) {            \
    softmax_row<V>(x, n, p);                                                                       \
  }                                                                                                \
  void top_k_##suffix(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* scratch, \
                      std::int32_t* index) {                                                       \
    top_k<V>(values, n, k, scratch, index);                                                        \
  }                                                                                                \
  [[gnu::flatten]] void combine_row_##suffix(const CombineRow& a) { combine_row<V>(a); }
