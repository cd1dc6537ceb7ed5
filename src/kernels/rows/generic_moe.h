// SPDX-License-Identifier: Apache-2.0
// What a mixture of experts does to rows (generic.h says how): weighted sums of rows, alone and
// with RMSNorm, int8 with a scale per row or per group, and blends.
//
// V provides, beside what generic.h asks for,
//   load_floats(p, count)   floats of memory as a line, in V's own order
//   larger, smaller(a, b)   on F; b where one is nan
//   magnitude(x)            |x| on F
//   nearest_bytes(line)     nearest integers, ties to even, of what int8 holds once rounded; nan 0
//   group_max(line)         in every place the largest of its group of 8; all are numbers
//   load_groups(p, groups)  element i is p[i / 8], an element of T, widened
// and a V that does not keep the order of elements, load_floats alone; its load_f32 and store_f32
// give back lines as they are.
#pragma once

#include <limits>

#include "kernels/rows/generic_norm.h"

namespace weft::rows {
namespace {

constexpr int kGroup = 8;

// Elements j ... of s of WeightedSumRow.
template <class V, class Count>
inline typename V::Line weighted_sum(const Term* terms, int term_count, std::int64_t j,
                                     Count count) {
  auto sum = zero_line<V>();
  for (int t = 0; t < term_count; ++t) {
    const Term& term = terms[t];
    const auto row = term.is_f32 ? V::load_floats(static_cast<const float*>(term.row) + j, count)
                                 : V::load(static_cast<const U16*>(term.row) + j, count);
    sum = add<V>(sum, mul<V>(row, V::broadcast(term.weight)));
  }
  return sum;
}

template <class V>
void weighted_sum_row(const WeightedSumRow& a) {
  each_line<V>(static_cast<U16*>(a.dst), a.n, a.store, [&](std::int64_t j, auto count) {
    return V::pack(weighted_sum<V>(a.terms, a.count, j, count));
  });
}

template <class V>
inline const typename V::Line& first_of(const typename V::Line& x, Whole) {
  return x;
}
// The first elements of a line, the others zero.
template <class V>
inline typename V::Line first_of(const typename V::Line& x, int count) {
  alignas(64) float lane[kLine];
  V::lanes(x, lane);
  return V::load_floats(lane, count);
}

// First pass: f goes to the scratch row, x to put_x; returns the mean square of f.
template <class V, class PutX>
inline float weigh_and_mean_square(const WeightedSumNormRow& a, const PutX& put_x) {
  auto* scratch = static_cast<float*>(a.scratch);
  MeanSquare<V> mean_square(a.n);
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    // An infinite weight makes nan of what lies past the end.
    const typename V::Line f = first_of<V>(weighted_sum<V>(a.terms, a.count, j, count), count);
    V::store_f32(scratch + j, f, Whole{});
    put_x(j, V::pack(f), count);
    mean_square.add(f);
  });
  return mean_square.value();
}

// kWholeLines: every line of scratch that is read is one that was written.
template <class V, bool kWholeLines>
inline void weighted_sum_norm_row_as(const WeightedSumNormRow& a) {
  const auto* gamma = static_cast<const U16*>(a.gamma);
  const auto load_sum = [scratch = static_cast<const float*>(a.scratch)](std::int64_t j,
                                                                         auto count) {
    if constexpr (kWholeLines) return V::load_f32(scratch + j, Whole{});
    return V::load_f32(scratch + j, count);
  };
  const float mean_square = put_in_first_pass<V>(
      static_cast<U16*>(a.x), a.n, a.store,
      [&](const auto& put_x) { return weigh_and_mean_square<V>(a, put_x); },
      [&](std::int64_t j, auto count) { return V::pack(load_sum(j, count)); });
  const float rstd = reciprocal_root(mean_square, a.epsilon);
  if (a.rstd) *a.rstd = rstd;
  const auto all_rstd = V::broadcast(rstd);
  each_line<V>(static_cast<U16*>(a.y), a.n, a.store, [&](std::int64_t j, auto count) {
    const auto h = V::unpack(V::pack(mul<V>(load_sum(j, count), all_rstd)));
    return V::pack(mul<V>(h, V::load(gamma + j, count)));
  });
}

// Scratch lines that W writes are in W's order, so W must read the same lines: not those of a
// streamed row whose first boundary is not its first element.
template <class V, class W>
void weighted_sum_norm_row(const WeightedSumNormRow& a) {
  if (!V::kStreams || a.store == Store::kPlain || (line_aligned(a.x) && line_aligned(a.y)))
    return weighted_sum_norm_row_as<W, true>(a);
  weighted_sum_norm_row_as<V, false>(a);
}

template <class V>
inline float max_of_lanes(const typename V::Line& line) {
  alignas(64) float lane[kLine];
  V::lanes(line, lane);
  float max = lane[0];
  for (float x : lane) max = x > max ? x : max;
  return max;
}

template <class V>
inline typename V::Line magnitudes(const typename V::Line& x) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::magnitude(x.v[i]);
  return r;
}

template <class V>
inline typename V::Line larger(const typename V::Line& a, const typename V::Line& b) {
  typename V::Line r;
  for (int i = 0; i < V::kRegs; ++i) r.v[i] = V::larger(a.v[i], b.v[i]);
  return r;
}

// Infinities become ±127, finite numbers what rounds to 0; nan stays nan.
template <class V>
inline typename V::Line only_infinities(const typename V::Line& v) {
  // Two steps, because 2^-130 is subnormal.
  auto r = mul<V>(mul<V>(v, V::broadcast(0x1p-126f)), V::broadcast(0x1p-4f));
  for (int i = 0; i < V::kRegs; ++i)
    r.v[i] = V::larger(V::broadcast(-127.0f), V::smaller(V::broadcast(127.0f), r.v[i]));
  return r;
}

// values(j, count) gives v[j ...].
template <class V, class Values>
inline void quantize_values(const QuantizeRow& a, const Values& values) {
  auto max_line = zero_line<V>();
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    max_line = larger<V>(magnitudes<V>(values(j, count)), max_line);
  });
  const float max = max_of_lanes<V>(max_line);
  const float factor = 127.0f / max;
  constexpr float kMost = std::numeric_limits<float>::max();
  const bool vanishes = !(factor <= kMost);
  *a.scale = vanishes ? 0.0f : 1.0f / factor;
  const auto put = [&](const auto& scaled) {
    each_line<V>(static_cast<std::int8_t*>(a.dst), a.n, a.store,
                 [&](std::int64_t j, auto count) { return V::nearest_bytes(scaled(j, count)); });
  };
  if (vanishes) {
    put([](std::int64_t, auto) { return zero_line<V>(); });
  } else if (max > kMost) {
    put([&](std::int64_t j, auto count) { return only_infinities<V>(values(j, count)); });
  } else {
    const auto all_factor = V::broadcast(factor);
    put([&](std::int64_t j, auto count) { return mul<V>(values(j, count), all_factor); });
  }
}

template <class V>
void quantize_row(const QuantizeRow& a) {
  const auto* src = static_cast<const U16*>(a.src);
  const float* smooth = a.smooth;
  if (!smooth)
    return quantize_values<V>(a,
                              [=](std::int64_t j, auto count) { return V::load(src + j, count); });
  quantize_values<V>(a, [=](std::int64_t j, auto count) {
    return mul<V>(V::load(src + j, count), V::load_f32(smooth + j, count));
  });
}

inline int groups_of(Whole) { return static_cast<int>(kLine / kGroup); }
inline int groups_of(int count) { return (count + kGroup - 1) / kGroup; }

template <class V>
void encode_groups_row(const EncodeGroupsRow& a) {
  const auto* src = static_cast<const U16*>(a.src);
  auto* dst = static_cast<std::int8_t*>(a.dst);
  auto* group_scale = static_cast<U16*>(a.group_scale);
  const auto zero = zero_line<V>();
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    const auto v = V::load(src + j, count);
    const auto max = V::group_max(larger<V>(magnitudes<V>(v), zero));
    const auto g = mul<V>(max, V::broadcast(1.0f / 127.0f));
    V::store(dst + j, V::to_bytes(div<V>(v, g)), count);
    alignas(64) U16 scale[kLine];
    V::store(scale, V::pack(g), Whole{});
    for (int i = 0; i < groups_of(count); ++i) group_scale[j / kGroup + i] = scale[i * kGroup];
  });
}

template <class V>
void decode_groups_row(const DecodeGroupsRow& a) {
  const auto* src = static_cast<const std::int8_t*>(a.src);
  const auto* group_scale = static_cast<const U16*>(a.group_scale);
  auto* dst = static_cast<U16*>(a.dst);
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    const auto scale = V::load_groups(group_scale + j / kGroup, groups_of(count));
    V::store(dst + j, V::pack(mul<V>(V::load_s8(src + j, count), scale)), count);
  });
}

template <class V>
void blend_row(const BlendRow& a) {
  const auto* x = static_cast<const U16*>(a.x);
  const auto* v = static_cast<const U16*>(a.v);
  const auto* alpha_1 = static_cast<const U16*>(a.alpha_1);
  const auto* alpha_2 = static_cast<const U16*>(a.alpha_2);
  const bool per_element = a.alpha_step != 0;
  const auto one_1 = V::fill(alpha_1), one_2 = V::fill(alpha_2);
  lines_from_0(a.n, [&](std::int64_t j, auto count) {
    const auto of_x = per_element ? V::load(alpha_1 + j, count) : one_1;
    const auto of_v = per_element ? V::load(alpha_2 + j, count) : one_2;
    const auto scaled_x = mul<V>(of_x, V::load(x + j, count));
    const auto scaled_v = mul<V>(of_v, V::load(v + j, count));
    V::store_f32(a.dst + j, add<V>(scaled_x, scaled_v), count);
  });
}

}  // namespace
}  // namespace weft::rows

// Defines what is above for one line WEFT_ROWS of kernels.inc. V keeps elements in order; W may
// not.
#define WEFT_ROWS_DEFINE_MOE(suffix, V, W)                                                  \
  [[gnu::flatten]] void weighted_sum_row_##suffix(const WeightedSumRow& a) {                \
    weighted_sum_row<W>(a);                                                                 \
  }                                                                                         \
  [[gnu::flatten]] void weighted_sum_norm_row_##suffix(const WeightedSumNormRow& a) {       \
    weighted_sum_norm_row<V, W>(a);                                                         \
  }                                                                                         \
  [[gnu::flatten]] void quantize_row_##suffix(const QuantizeRow& a) { quantize_row<V>(a); } \
  [[gnu::flatten]] void encode_groups_row_##suffix(const EncodeGroupsRow& a) {              \
    encode_groups_row<V>(a);                                                                \
  }                                                                                         \
  [[gnu::flatten]] void decode_groups_row_##suffix(const DecodeGroupsRow& a) {              \
    decode_groups_row<V>(a);                                                                \
  }                                                                                         \
  [[gnu::flatten]] void blend_row_##suffix(const BlendRow& a) { blend_row<V>(a); }
