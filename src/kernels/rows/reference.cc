// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/reference.h"

#include <cassert>
#include <cmath>
#include <cstring>

#include "base/float16.h"

namespace weft::rows::reference {
namespace {

template <class E>
const E* row(const void* base, std::int64_t stride_bytes, int i) {
  return reinterpret_cast<const E*>(static_cast<const char*>(base) + i * stride_bytes);
}

// Arithmetic in fp32, as the contract has it; the conversion to T is the caller's.
float load32(DType type, const void* p, std::int64_t index) {
  return static_cast<float>(load(type, p, index));
}

void antiquant(DType type, const AntiquantRow& a, std::int64_t j, int weight) {
  const std::int64_t at = j * a.step;
  if (type == DType::kFloat16) {
    // Half arithmetic: each operation exact in double, then rounded to half.
    double w = weight;
    if (a.offset) w = fp16_to_f32(f64_to_fp16(w + load(type, a.offset, at)));
    store(type, a.dst, j, w * load(type, a.scale, at));
    return;
  }
  auto w = static_cast<float>(weight);
  if (a.offset) w += load32(type, a.offset, at);
  store(type, a.dst, j, w * load32(type, a.scale, at));
}

}  // namespace

double load(DType type, const void* p, std::int64_t index) {
  assert(type == DType::kFloat16 || type == DType::kBFloat16);
  const std::uint16_t bits = static_cast<const std::uint16_t*>(p)[index];
  return type == DType::kFloat16 ? fp16_to_f32(bits) : bf16_to_f32(bits);
}

void store(DType type, void* p, std::int64_t index, double value) {
  assert(type == DType::kFloat16 || type == DType::kBFloat16);
  static_cast<std::uint16_t*>(p)[index] =
      type == DType::kFloat16 ? f64_to_fp16(value) : f64_to_bf16(value);
}

void store_tile_f32(DType type, const StoreTile& a) {
  for (int i = 0; i < a.m; ++i)
    for (int j = 0; j < a.n; ++j)
      store(type, static_cast<char*>(a.dst) + i * a.dst_stride_bytes, j,
            row<float>(a.acc, a.acc_stride_bytes, i)[j]);
}

void store_tile_s32(DType type, const StoreTile& a) {
  for (int i = 0; i < a.m; ++i) {
    for (int j = 0; j < a.n; ++j) {
      const auto acc = static_cast<float>(row<std::int32_t>(a.acc, a.acc_stride_bytes, i)[j]);
      const float product = acc * a.scale[j * a.scale_step];
      store(type, static_cast<char*>(a.dst) + i * a.dst_stride_bytes, j, product);
    }
  }
}

void sum_rows(DType type, const SumRows& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    float sum = load32(type, a.src[0], j);
    for (int r = 1; r < a.count; ++r) sum += load32(type, a.src[r], j);
    store(type, a.dst, j, sum);
  }
}

void add_rmsnorm_row(DType type, const AddRmsNormRow& a) {
  const float per_n = 1.0f / static_cast<float>(a.n);
  float lane[32] = {};
  for (std::int64_t j = 0; j < a.n; ++j) {
    store(type, a.scratch, j, load32(type, a.m, j) + load32(type, a.residual, j));
    const float y = load32(type, a.scratch, j);
    lane[j % 32] = std::fma(y * y, per_n, lane[j % 32]);
  }
  for (int step : {16, 8, 4, 2, 1}) {
    float sum[32];
    for (int l = 0; l < 32; ++l) sum[l] = lane[l] + lane[l ^ step];
    std::memcpy(lane, sum, sizeof(lane));
  }
  const float rstd = 1.0f / std::sqrt(lane[0] + a.epsilon);
  for (std::int64_t j = 0; j < a.n; ++j) {
    const float y = load32(type, a.scratch, j);
    store(type, a.scratch, j, y * rstd);
    store(type, a.y, j, y);
    store(type, a.out, j, load32(type, a.scratch, j) * load32(type, a.gamma, j));
  }
}

void antiquant_int8_row(DType type, const AntiquantRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j)
    antiquant(type, a, j, static_cast<const std::int8_t*>(a.src)[j]);
}

void antiquant_int4_row(DType type, const AntiquantRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    const std::int64_t nibble = j + a.src_nibble;
    const int byte = static_cast<const std::uint8_t*>(a.src)[nibble / 2];
    const int bits = nibble % 2 == 0 ? byte & 15 : byte >> 4;
    antiquant(type, a, j, bits >= 8 ? bits - 16 : bits);
  }
}

void widen(DType type, const void* src, float* dst, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) dst[j] = load32(type, src, j);
}

void narrow(DType type, const float* src, void* dst, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) store(type, dst, j, src[j]);
}

void rmsnorm_row_f64(DType type, std::int64_t n, const void* y, const void* gamma, float epsilon,
                     double* out) {
  double squares = 0;
  for (std::int64_t j = 0; j < n; ++j) squares += load(type, y, j) * load(type, y, j);
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
  for (std::int64_t j = 0; j < n; ++j) out[j] = load(type, y, j) * rstd * load(type, gamma, j);
}

}  // namespace weft::rows::reference
