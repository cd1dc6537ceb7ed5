// SPDX-License-Identifier: Apache-2.0
// int8 on AMX: TDPBSSD, 32 x 32 x 64, signed x signed, exact in int32. Also the tile configuration
// of all AMX kernels. Layout of a k step: x86_amx.h; a tile of B is [4 k][16 columns].
#include "kernels/gemm/x86_amx.h"
#include "kernels/gemm/x86_amx_narrow.h"

namespace weft::gemm {
namespace {

constexpr std::int64_t kStepBytes = 2 * kTileBytes;

struct alignas(64) TileConfig {
  std::uint8_t palette, start_row, reserved[14];
  std::uint16_t row_bytes[16];
  std::uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

constexpr TileConfig kConfig = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

struct DotInt8 {
  static constexpr std::int64_t kStep = 64;
  static void upper_left() { _tile_dpbssd(0, 4, 6); }
  static void lower_left() { _tile_dpbssd(2, 5, 6); }
  static void upper_right() { _tile_dpbssd(1, 4, 7); }
  static void lower_right() { _tile_dpbssd(3, 5, 7); }
  // The transposed product of few rows (x86_amx_narrow.h).
  static void upper() { _tile_dpbssd(0, 6, 4); }
  static void lower() { _tile_dpbssd(1, 7, 4); }
};
constexpr std::int64_t kStep = DotInt8::kStep;

/// Four rows of 64 columns as four lines [16 columns][4 rows].
inline void interleave(const __m512i (&row)[4], __m512i (&line)[4]) {
  // The unpacks work inside 128-bit lanes: lane L of line i is to hold columns 16 i + 4 L .. + 3,
  // so they must lie in dword i of lane L before.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i r0 = _mm512_permutexvar_epi32(order, row[0]);
  const __m512i r1 = _mm512_permutexvar_epi32(order, row[1]);
  const __m512i r2 = _mm512_permutexvar_epi32(order, row[2]);
  const __m512i r3 = _mm512_permutexvar_epi32(order, row[3]);
  const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), high01 = _mm512_unpackhi_epi8(r0, r1);
  const __m512i low23 = _mm512_unpacklo_epi8(r2, r3), high23 = _mm512_unpackhi_epi8(r2, r3);
  line[0] = _mm512_unpacklo_epi16(low01, low23);
  line[1] = _mm512_unpackhi_epi16(low01, low23);
  line[2] = _mm512_unpacklo_epi16(high01, high23);
  line[3] = _mm512_unpackhi_epi16(high01, high23);
}

}  // namespace

void enter_amx() { _tile_loadconfig(&kConfig); }
void leave_amx() { _tile_release(); }

// C^T in tmm0-1 and x in tmm4-5 have a column for each of the m rows of x1 and no others
// (x86_amx_narrow.h).
void enter_narrow_amx(int m) {
  TileConfig config = kConfig;
  for (const int tile : {0, 1, 4, 5}) config.row_bytes[tile] = static_cast<std::uint16_t>(4 * m);
  stores_are_visible();
  _tile_loadconfig(&config);
}

void tile_s8_amxint8(const Tile& tile) { multiply_tile<DotInt8>(tile); }

void pack_a_s8_amxint8(const PackA& p) { pack_a_lines(p, p.k); }

void pack_b_s8_amxint8(const PackB& p) {
  const std::int64_t padded_k = (p.k + kStep - 1) / kStep * kStep;
  for (std::int64_t rows = 0; rows < padded_k; rows += kRowsTogether)
    for (std::int64_t j = 0; j < p.n; j += 64) {
      std::byte* dst = bytes(p.dst) + j / 32 * p.panel_stride_bytes +
                       (p.k_begin + rows) / kStep * kStepBytes + rows % kStep / 4 * kLineBytes;
      for (std::int64_t k = rows; k < rows + kRowsTogether; k += 4, dst += kLineBytes) {
        const std::byte* src = bytes(p.src) + k * p.stride_bytes + j;
        __m512i row[4], line[4];
        for (int r = 0; r < 4; ++r) {
          row[r] = load_line(src + r * p.stride_bytes, k + r < p.k ? p.n - j : 0);
          // The next 16 rows: rows of one byte per column are too short for the hardware prefetcher
          // (512 columns: 9 GB/s against 5). With two bytes it changes nothing.
          _mm_prefetch(reinterpret_cast<const char*>(src + (r + kRowsTogether) * p.stride_bytes),
                       _MM_HINT_T0);
        }
        interleave(row, line);
        _mm512_store_si512(dst, line[0]);
        _mm512_store_si512(dst + kTileBytes, line[1]);
        if (p.n - j <= 32) continue;
        _mm512_store_si512(dst + p.panel_stride_bytes, line[2]);
        _mm512_store_si512(dst + p.panel_stride_bytes + kTileBytes, line[3]);
      }
    }
}

void pack_bt_s8_amxint8(const PackB& p) { pack_bt_lines(p, p.k, p.k_begin / kStep * kStepBytes); }

bool narrow_s8_amxint8(const Narrow& p) {
  multiply_narrow<DotInt8>(p, p.k);
  return true;
}

void pack_x_s8_amxint8(const PackA& p) { pack_x_lines(p, p.k); }

}  // namespace weft::gemm
