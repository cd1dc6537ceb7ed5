// SPDX-License-Identifier: Apache-2.0
// bfloat16 on AMX: TDPBF16PS, 32 x 32 x 32. For every k step the instruction sums the products of
// even k and those of odd k from zero and adds both sums to C; it takes and makes denormals as
// zero. Layout of a k step: x86_amx.h; a tile of B is [2 k][16 columns].
#include "kernels/gemm/x86_amx.h"
#include "kernels/gemm/x86_amx_narrow.h"

namespace weft::gemm {
namespace {

constexpr std::int64_t kStepBytes = 2 * kTileBytes;

struct DotBf16 {
  static constexpr std::int64_t kStep = 32;
  static void upper_left() { _tile_dpbf16ps(0, 4, 6); }
  static void lower_left() { _tile_dpbf16ps(2, 5, 6); }
  static void upper_right() { _tile_dpbf16ps(1, 4, 7); }
  static void lower_right() { _tile_dpbf16ps(3, 5, 7); }
  // The transposed product of few rows (x86_amx_narrow.h).
  static void upper() { _tile_dpbf16ps(0, 6, 4); }
  static void lower() { _tile_dpbf16ps(1, 7, 4); }
};
constexpr std::int64_t kStep = DotBf16::kStep;

}  // namespace

void tile_bf16_amxbf16(const Tile& tile) { multiply_tile<DotBf16>(tile); }

void pack_a_bf16_amxbf16(const PackA& p) { pack_a_lines(p, 2 * p.k); }

void pack_b_bf16_amxbf16(const PackB& p) {
  const std::int64_t padded_k = (p.k + kStep - 1) / kStep * kStep;
  // The unpacks work inside 128-bit lanes: lane L of the low (high) result is to hold columns 4 L
  // (16 + 4 L) .. + 3, so they must lie in the low (high) qword of lane L before.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::int64_t rows = 0; rows < padded_k; rows += kRowsTogether)
    for (std::int64_t j = 0; j < p.n; j += 32) {
      std::byte* dst = bytes(p.dst) + j / 32 * p.panel_stride_bytes +
                       (p.k_begin + rows) / kStep * kStepBytes + rows % kStep / 2 * kLineBytes;
      for (std::int64_t k = rows; k < rows + kRowsTogether; k += 2, dst += kLineBytes) {
        const std::byte* src = bytes(p.src) + k * p.stride_bytes + 2 * j;
        const auto row = [&](int r) {
          const std::int64_t count = k + r < p.k ? 2 * (p.n - j) : 0;
          return _mm512_permutexvar_epi64(order, load_line(src + r * p.stride_bytes, count));
        };
        const __m512i even = row(0), odd = row(1);
        _mm512_store_si512(dst, _mm512_unpacklo_epi16(even, odd));
        _mm512_store_si512(dst + kTileBytes, _mm512_unpackhi_epi16(even, odd));
      }
    }
}

void pack_bt_bf16_amxbf16(const PackB& p) {
  pack_bt_lines(p, 2 * p.k, p.k_begin / kStep * kStepBytes);
}

bool narrow_bf16_amxbf16(const Narrow& p) {
  multiply_narrow<DotBf16>(p, 2 * p.k);
  return true;
}

void pack_x_bf16_amxbf16(const PackA& p) { pack_x_lines(p, 2 * p.k); }

}  // namespace weft::gemm
