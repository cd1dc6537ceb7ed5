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

// Nan is below all numbers.
inline bool below(float a, float b) { return a < b || (a != a && b == b); }
inline bool comes_after(const Ranked& a, const Ranked& b) {
  return below(a.value, b.value) || (!below(b.value, a.value) && a.index > b.index);
}

// best[0 … size) is a heap with what comes last at its root, but for best[at].
inline void sift_down(Ranked* best, std::int64_t at, std::int64_t size) {
  const Ranked moved = best[at];
  for (std::int64_t child; (child = 2 * at + 1) < size; at = child) {
    if (child + 1 < size && comes_after(best[child + 1], best[child])) ++child;
    if (!comes_after(best[child], moved)) break;
    best[at] = best[child];
  }
  best[at] = moved;
}

// An element enters if it is greater than the least so far: of equal ones the earlier is there
// already. Few elements of a row do, so the others are passed over a line at a time.
template <class V>
inline void take_line(const float* values, std::int64_t j, int count, std::int64_t k,
                      Ranked* best) {
  const float least = best[0].value;
  const auto line =
      count == kLine ? V::load_f32(values + j, Whole{}) : V::load_f32(values + j, count);
  std::uint32_t found = least == least ? V::above(line, V::broadcast(least)) : ~0u;
  if (count < kLine) found &= (std::uint32_t{1} << count) - 1;
  for (; found != 0; found &= found - 1) {
    const std::int64_t i = j + __builtin_ctz(found);
    if (!below(best[0].value, values[i])) continue;
    best[0] = {values[i], static_cast<std::int32_t>(i)};
    sift_down(best, 0, k);
  }
}

template <class V>
inline void top_k(const float* values, std::int64_t n, std::int64_t k, Ranked* best) {
  for (std::int64_t i = 0; i < k; ++i) best[i] = {values[i], static_cast<std::int32_t>(i)};
  for (std::int64_t i = k / 2; i-- > 0;) sift_down(best, i, k);
  for (std::int64_t j = k; j < n; j += kLine)
    take_line<V>(values, j, static_cast<int>(n - j < kLine ? n - j : kLine), k, best);
  for (std::int64_t size = k - 1; size > 0; --size) {
    const Ranked last = best[0];
    best[0] = best[size];
    best[size] = last;
    sift_down(best, 0, size);
  }
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
#define WEFT_ROUTING_DEFINE(suffix, V)                                                     \
  [[gnu::flatten]] void softmax_row_##suffix(const void* x, std::int64_t n, float* p) {    \
    softmax_row<V>(x, n, p);                                                               \
  }                                                                                        \
  void top_k_##suffix(const float* values, std::int64_t n, std::int64_t k, Ranked* best) { \
    top_k<V>(values, n, k, best);                                                          \
  }                                                                                        \
  [[gnu::flatten]] void combine_row_##suffix(const CombineRow& a) { combine_row<V>(a); }
