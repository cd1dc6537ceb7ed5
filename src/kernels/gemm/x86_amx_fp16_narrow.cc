// SPDX-License-Identifier: Apache-2.0
// float16 on AMX for few rows: the weight is split into hi + lo (x86_amx_fp16.cc) on its way, 32
// rows x 32 k at a time, into tiles that stay in L1. A k step of x is a tile of hi and one of lo.
// The split takes about 2.1 ns for 64 bytes, reading them from memory 3.5, and neither quite hides
// the other: 75-80 % of the speed of reading.
#include "kernels/gemm/x86_amx.h"
#include "kernels/gemm/x86_amx_narrow.h"
#include "kernels/gemm/x86_amx_split.h"

namespace weft::gemm {
namespace {

constexpr int kStep = 32;
constexpr std::int64_t kStepBytes = 4 * kTileBytes;

/// The rows of one k step of the weight.
struct WeightStep {
  const std::byte* src;
  std::int64_t stride;
  NarrowFetch fetch;
};

/// Rows from `first` on as rows of a hi and a lo tile.
template <int kRows>
inline void split_weight(const WeightStep& step, int first, std::byte* dst) {
  const std::byte* src = step.src + first * step.stride;
  const std::byte* soon = step.fetch.at + first * step.fetch.stride;
  dst += first * kLineBytes;
#pragma GCC unroll 8
  for (int j = 0; j < kRows; ++j, src += step.stride, dst += kLineBytes) {
    fetch_narrow(soon);
    soon += step.fetch.stride;
    const Split s = split(_mm512_loadu_si512(src));
    _mm512_store_si512(dst, s.hi);
    _mm512_store_si512(dst + kLo, s.lo);
  }
}

/// Step `done` of the weight; from `whole` on it is a copy in `edge`.
template <bool kLower>
inline WeightStep weight_step(const Narrow& p, std::int64_t done, std::int64_t whole,
                              std::byte* edge) {
  const NarrowFetch fetch = fetch_beside<kLower>(p, done, 2 * p.k, kLineBytes);
  if (done < whole) return {bytes(p.w) + done, p.stride_bytes, fetch};
  copy_edge<kLower>(p, done, 2 * p.k, edge);
  return {edge, kLineBytes, fetch};
}

template <bool kLower>
bool multiply_narrow_split(const Narrow& p) {
  constexpr int kRows = (kLower ? 2 : 1) * kTileRows;
  alignas(64) std::byte steps[2][kStepBytes], edge[2 * kTileBytes], c[2 * kTileBytes];
  const std::byte* x = bytes(p.x);
  const std::int64_t row_bytes = 2 * p.k;
  const std::int64_t whole = p.n == kRows ? row_bytes / kLineBytes * kLineBytes : 0;
  load_narrow_c<kLower>(p);
  // One step ahead: a tile load of lines that are still in the store buffer waits for them.
  WeightStep step = weight_step<kLower>(p, 0, whole, edge);
  split_weight<kRows>(step, 0, steps[0]);
  int now = 0;
  for (std::int64_t done = kLineBytes; done < row_bytes; done += kLineBytes, now ^= 1) {
    step = weight_step<kLower>(p, done, whole, edge);
    multiply_split_step<kLower>(x, p.m, steps[now], [step, to = steps[now ^ 1]](int quarter) {
      split_weight<kRows / 4>(step, quarter * kRows / 4, to);
    });
    x += x_step_bytes(p.m);
  }
  multiply_split_step<kLower>(x, p.m, steps[now], [](int) {});
  store_narrow_c<kLower>(c);
  if (any_nan<kRows>(c, p.m)) return false;
  write_acc<kLower>(p, c);
  return true;
}

}  // namespace

bool narrow_f16_amxbf16(const Narrow& p) {
  stores_are_visible();
  return p.n <= kTileRows ? multiply_narrow_split<false>(p) : multiply_narrow_split<true>(p);
}

void pack_x_f16_amxbf16(const PackA& p) {
  alignas(64) std::byte hi[kTileBytes], lo[kTileBytes];
  std::byte* dst = bytes(p.dst);
  for (std::int64_t k = 0; k < p.k; k += kStep) {
    const std::byte* src = bytes(p.src) + 2 * k;
    for (int i = 0; i < kTileRows; ++i, src += p.stride_bytes) {
      const Split s = split(i < p.m ? load_line(src, 2 * (p.k - k)) : _mm512_setzero_si512());
      _mm512_store_si512(hi + i * kLineBytes, s.hi);
      _mm512_store_si512(lo + i * kLineBytes, s.lo);
    }
    dst = store_x_tile(hi, p.m, dst);
    dst = store_x_tile(lo, p.m, dst);
  }
}

}  // namespace weft::gemm
