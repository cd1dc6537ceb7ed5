// SPDX-License-Identifier: Apache-2.0
// RMSNorm over a vector wrapper V (generic.h): the mean square that the normalising rows share, and
// add + RMSNorm.
#pragma once

#include "kernels/rows/generic.h"

namespace weft::rows {
namespace {

// The tree l + (l ^ 16), then 8, 4, 2, 1. Addition commutes, so one side of each pair is enough.
template <class V>
inline float sum_of_lanes(const typename V::Line& line) {
  alignas(64) float lane[kLine];
  V::lanes(line, lane);
  for (int step = 16; step >= 1; step /= 2)
    for (int l = 0; l < step; ++l) lane[l] += lane[l + step];
  return lane[0];
}

template <class V>
inline typename V::Line zero_line() {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::broadcast(0.0f);
  return r;
}

// The mean square of rows.h. Lines start at element 0; elements past the row's end are zero and
// add nothing to their lanes.
template <class V>
struct MeanSquare {
  typename V::F per_n;
  typename V::Line acc = zero_line<V>();

  explicit MeanSquare(std::int64_t n) : per_n(V::broadcast(1.0f / static_cast<float>(n))) {}
  void add(const typename V::Line& y) {
    for (int i = 0; i < V::kRegs; ++i) acc.v[i] = V::fma(V::mul(y.v[i], y.v[i]), per_n, acc.v[i]);
  }
  float value() const { return sum_of_lanes<V>(acc); }
};

inline float reciprocal_root(float mean_square, float epsilon) {
  return 1.0f / __builtin_sqrtf(mean_square + epsilon);
}

// dst gets the lines of a first pass. first_pass(put) calls put(j, packed, count) for the lines
// from element 0 on and returns the mean square; again(j, count) gives any line once more.
template <class V, class E, class FirstPass, class Again>
inline float put_in_first_pass(E* dst, std::int64_t n, Store store, const FirstPass& first_pass,
                               const Again& again) {
  if (!V::kStreams || store == Store::kPlain) {
    return first_pass(
        [&](std::int64_t j, const auto& packed, auto count) { V::store(dst + j, packed, count); });
  }
  if (line_aligned(dst) && n % kLine == 0) {
    return first_pass(
        [&](std::int64_t j, const auto& packed, auto) { V::stream(dst + j, packed); });
  }
  // The lanes start at element 0, cache lines do not: the row goes out afterwards, in lines that
  // need not match.
  const float mean_square = first_pass([](std::int64_t, const auto&, auto) {});
  each_line<V>(dst, n, Store::kStream, again);
  return mean_square;
}

// m(j, count) gives a line of m.
template <class V>
struct RowM {
  const typename V::Element* row;
  template <class Count>
  typename V::Line operator()(std::int64_t j, Count count) const {
    return V::load(row + j, count);
  }
};
template <class V>
struct SumM {
  SumOf of;
  typename V::Element* copy;
  template <class Count>
  typename V::Line operator()(std::int64_t j, Count count) const {
    const auto sum = V::pack(sum_line<V>(of.src, of.count, j, count));
    if (copy) stream_line<V>(copy + j, sum, count);
    return V::unpack(sum);
  }
};

// Fetches line j ... of rows that are needed next; null rows are skipped.
template <class E>
inline void fetch_ahead(const void* const* rows, int count, std::int64_t j) {
  for (int r = 0; r < count; ++r) {
    if (!rows[r]) continue;
    const E* p = static_cast<const E*>(rows[r]) + j;
    for (std::int64_t at = 0; at < kLine; at += 64 / sizeof(E)) __builtin_prefetch(p + at, 0, 2);
  }
}

// First pass: y goes to the scratch row and to put_y; returns the mean of its squares.
template <class V, class LineOfM, class PutY>
inline float add_and_mean_square(const AddRmsNormRow& a, const LineOfM& m, const PutY& put_y) {
  using E = typename V::Element;
  const auto* residual = static_cast<const E*>(a.residual);
  auto* scratch = static_cast<E*>(a.scratch);
  MeanSquare<V> mean_square(a.n);
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    fetch_ahead<E>(a.ahead, a.ahead_count, j);
    const auto packed = V::pack(add<V>(m(j, count), V::load(residual + j, count)));
    V::store(scratch + j, packed, Whole{});
    put_y(j, packed, count);
    mean_square.add(V::unpack(packed));
  });
  return mean_square.value();
}

template <class V>
void add_rmsnorm_row(const AddRmsNormRow& a) {
  using E = typename V::Element;
  const auto* scratch = static_cast<const E*>(a.scratch);
  const auto* gamma = static_cast<const E*>(a.gamma);
  const float mean_square = put_in_first_pass<V>(
      static_cast<E*>(a.y), a.n, a.store,
      [&](const auto& put_y) {
        if (a.m) return add_and_mean_square<V>(a, RowM<V>{static_cast<const E*>(a.m)}, put_y);
        return add_and_mean_square<V>(a, SumM<V>{a.partials, static_cast<E*>(a.partials.copy)},
                                      put_y);
      },
      [&](std::int64_t j, auto count) { return V::load_packed(scratch + j, count); });
  const float rstd = reciprocal_root(mean_square, a.epsilon);
  if (a.rstd) *a.rstd = rstd;
  const auto all_rstd = V::broadcast(rstd);
  each_line<V>(static_cast<E*>(a.out), a.n, a.store, [&](std::int64_t j, auto count) {
    const auto h = V::unpack(V::pack(mul<V>(V::load(scratch + j, count), all_rstd)));
    return V::pack(mul<V>(h, V::load(gamma + j, count)));
  });
}

}  // namespace
}  // namespace weft::rows

// Defines add_rmsnorm_row of one line of kernels.inc. W need not keep elements in order.
#define WEFT_ROWS_DEFINE_NORM(suffix, W) \
  [[gnu::flatten]] void add_rmsnorm_row_##suffix(const AddRmsNormRow& a) { add_rmsnorm_row<W>(a); }
