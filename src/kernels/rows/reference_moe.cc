// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/rows/reference.h"

namespace weft::rows::reference {
namespace {

float load32(DType type, const void* p, std::int64_t index) {
  return static_cast<float>(load(type, p, index));
}

float rounded(DType type, float value) {
  std::uint16_t stored;
  store(type, &stored, 0, value);
  return load32(type, &stored, 0);
}

float weighted_sum(DType type, const Term* terms, int count, std::int64_t j) {
  float sum = 0;
  for (int t = 0; t < count; ++t)
    sum += terms[t].weight * load32(terms[t].is_f32 ? DType::kFloat32 : type, terms[t].row, j);
  return sum;
}

}  // namespace

float mean_square(const float* f, std::int64_t n) {
  const float per_n = 1.0f / static_cast<float>(n);
  float lane[32] = {};
  for (std::int64_t j = 0; j < n; ++j) lane[j % 32] = std::fma(f[j] * f[j], per_n, lane[j % 32]);
  for (int step : {16, 8, 4, 2, 1}) {
    float sum[32];
    for (int l = 0; l < 32; ++l) sum[l] = lane[l] + lane[l ^ step];
    std::memcpy(lane, sum, sizeof(lane));
  }
  return lane[0];
}

void weighted_sum_row(DType type, const WeightedSumRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j)
    store(type, a.dst, j, weighted_sum(type, a.terms, a.count, j));
}

void weighted_sum_norm_row(DType type, const WeightedSumNormRow& a) {
  auto* f = static_cast<float*>(a.scratch);
  for (std::int64_t j = 0; j < a.n; ++j) f[j] = weighted_sum(type, a.terms, a.count, j);
  const float rstd = 1.0f / std::sqrt(mean_square(f, a.n) + a.epsilon);
  if (a.rstd) *a.rstd = rstd;
  for (std::int64_t j = 0; j < a.n; ++j) {
    store(type, a.x, j, f[j]);
    store(type, a.y, j, rounded(type, f[j] * rstd) * load32(type, a.gamma, j));
  }
}

void quantize_row(DType type, const QuantizeRow& a) {
  std::vector<float> v(a.n);
  float max = 0;
  for (std::int64_t j = 0; j < a.n; ++j) {
    v[j] = load32(type, a.src, j);
    if (a.smooth) v[j] *= a.smooth[j];
    if (!std::isnan(v[j])) max = std::max(max, std::abs(v[j]));
  }
  const float factor = 127.0f / max;
  const bool vanishes = max == 0 || std::isinf(factor);
  *a.scale = vanishes ? 0.0f : 1.0f / factor;
  for (std::int64_t j = 0; j < a.n; ++j) {
    float q = std::nearbyint(v[j] * factor);
    if (std::isinf(max)) q = std::isinf(v[j]) ? std::copysign(127.0f, v[j]) : 0.0f;
    if (vanishes || std::isnan(v[j])) q = 0;
    static_cast<std::int8_t*>(a.dst)[j] = static_cast<std::int8_t>(q);
  }
}

void encode_groups_row(DType type, const EncodeGroupsRow& a) {
  for (std::int64_t first = 0; first < a.n; first += 8) {
    const std::int64_t end = std::min(first + 8, a.n);
    float max = 0;
    for (std::int64_t j = first; j < end; ++j) {
      const float v = std::abs(load32(type, a.src, j));
      if (v > max) max = v;  // never a nan
    }
    const float g = max * (1.0f / 127.0f);
    store(type, a.group_scale, first / 8, g);
    for (std::int64_t j = first; j < end; ++j)
      static_cast<std::int8_t*>(a.dst)[j] = g == 0 ? 0 : to_int8(load32(type, a.src, j) / g);
  }
}

void decode_groups_row(DType type, const DecodeGroupsRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j)
    store(type, a.dst, j,
          static_cast<float>(static_cast<const std::int8_t*>(a.src)[j]) *
              load32(type, a.group_scale, j / 8));
}

void blend_row(DType type, const BlendRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    const std::int64_t at = j * a.alpha_step;
    const float x = load32(type, a.alpha_1, at) * load32(type, a.x, j);
    const float v = load32(type, a.alpha_2, at) * load32(type, a.v, j);
    a.dst[j] = x + v;
  }
}

}  // namespace weft::rows::reference
