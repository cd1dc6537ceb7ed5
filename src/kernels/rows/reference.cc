// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/float16.h"

namespace weft::rows::reference {
namespace {

template <class E>
const E* row(const void* base, std::int64_t stride_bytes, int i) {
  return reinterpret_cast<const E*>(static_cast<const char*>(base) + i * stride_bytes);
}

// Copied, not dereferenced: p is of any type.
template <class E>
E element(const void* p, std::int64_t index) {
  E value;
  std::memcpy(&value, static_cast<const char*>(p) + index * std::int64_t{sizeof(E)}, sizeof(E));
  return value;
}
template <class E>
void set_element(void* p, std::int64_t index, E value) {
  std::memcpy(static_cast<char*>(p) + index * std::int64_t{sizeof(E)}, &value, sizeof(E));
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

float rounded(DType type, float value) {
  float stored;  // room for any T
  store(type, &stored, 0, value);
  return load32(type, &stored, 0);
}

// The last steps of a tile, from v on. Panels are not for the reference.
void store_one(DType type, const StoreTile& a, int i, int j, float v) {
  float p = rounded(type, v);
  if (a.addend)
    p = rounded(type, p + load32(type, row<char>(a.addend, a.addend_stride_bytes, i), j));
  char* dst = static_cast<char*>(a.dst) + i * a.dst_stride_bytes;
  if (a.quant_scale)
    *(reinterpret_cast<std::int8_t*>(dst) + j) = to_int8(p / a.quant_scale[j]);
  else
    store(type, dst, j, p);
}

}  // namespace

std::int8_t to_int8(float x) {
  const float half = fp16_to_f32(f32_to_fp16(x));
  if (std::isnan(half)) return 0;
  return static_cast<std::int8_t>(std::clamp(std::nearbyint(half), -128.0f, 127.0f));
}

double load(DType type, const void* p, std::int64_t index) {
  assert(type == DType::kFloat16 || type == DType::kBFloat16 || type == DType::kFloat32);
  if (type == DType::kFloat32) return element<float>(p, index);
  const auto bits = element<std::uint16_t>(p, index);
  return type == DType::kFloat16 ? fp16_to_f32(bits) : bf16_to_f32(bits);
}

void store(DType type, void* p, std::int64_t index, double value) {
  assert(type == DType::kFloat16 || type == DType::kBFloat16 || type == DType::kFloat32);
  if (type == DType::kFloat32) return set_element(p, index, static_cast<float>(value));
  set_element(p, index, type == DType::kFloat16 ? f64_to_fp16(value) : f64_to_bf16(value));
}

void store_tile_f32(DType type, const StoreTile& a) {
  for (int i = 0; i < a.m; ++i)
    for (int j = 0; j < a.n; ++j)
      store_one(type, a, i, j, row<float>(a.acc, a.acc_stride_bytes, i)[j]);
}

void store_tile_s32(DType type, const StoreTile& a) {
  for (int i = 0; i < a.m; ++i) {
    for (int j = 0; j < a.n; ++j) {
      auto v = static_cast<float>(row<std::int32_t>(a.acc, a.acc_stride_bytes, i)[j]);
      v *= a.scale[j * a.scale_step];
      if (a.row_scale) v *= a.row_scale[i];
      store_one(type, a, i, j, v);
    }
  }
}

void sum_rows(DType type, const SumRows& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    float sum = load32(type, a.src[0], j);
    for (int r = 1; r < a.count; ++r) sum += load32(type, a.src[r], j);
    sum *= a.factor;
    store(type, a.dst, j, sum);
    if (a.copy) store(type, a.copy, j, sum);
  }
}

void requant_row(const RequantRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j) {
    std::int64_t sum = 0;
    for (int r = 0; r < a.count; ++r) sum += static_cast<const std::int8_t*>(a.src[r])[j];
    static_cast<std::int8_t*>(a.dst)[j] = to_int8(static_cast<float>(sum) * a.ratio[j]);
  }
}

void dequant_row(DType type, const DequantRow& a) {
  for (std::int64_t j = 0; j < a.n; ++j)
    store(type, a.dst, j,
          static_cast<float>(static_cast<const std::int8_t*>(a.src)[j]) * a.scale[j]);
}

void add_rmsnorm_row(DType type, const AddRmsNormRow& a) {
  if (!a.m)
    sum_rows(type, {a.partials.src, a.partials.count, a.n, a.out, a.store, a.partials.copy});
  const void* const m = a.m ? a.m : a.out;
  std::vector<float> sums(a.n);
  for (std::int64_t j = 0; j < a.n; ++j) {
    store(type, a.scratch, j, load32(type, m, j) + load32(type, a.residual, j));
    sums[j] = load32(type, a.scratch, j);
  }
  const float rstd = 1.0f / std::sqrt(mean_square(sums.data(), a.n) + a.epsilon);
  if (a.rstd) *a.rstd = rstd;
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
