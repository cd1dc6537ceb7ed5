// SPDX-License-Identifier: Apache-2.0
// What the two AMX loops share. Included by files with AMX flags only, so everything is local.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace weft::peak {
namespace {

// Palette 1: 8 tiles of 16 rows x 64 bytes.
struct alignas(64) TileConfig {
  std::uint8_t palette, start_row, reserved[14];
  std::uint16_t row_bytes[16];
  std::uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

// Configures the tiles of this thread and leaves them as found: another kernel may have configured
// them and count on it. (Palette 0, "not configured", is a valid configuration to load.)
class Tiles {
 public:
  Tiles() {
    _tile_storeconfig(&before_);
    TileConfig config = {.palette = 1};
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.rows[tile] = 16;
    }
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_loadconfig(&before_); }

 private:
  TileConfig before_ = {};
};

// Two tiles of A, two of B and four sums: the 2 x 2 block of the micro-kernel. A product starts
// every 16 cycles and takes 52, so four sums keep the unit busy. Dot::round() adds the four
// products.
template <class Dot>
inline void multiply_tiles(const void* data, std::int64_t rounds, void* sink) {
  const Tiles tiles;
  const auto* values = static_cast<const char*>(data);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values, 64);
  _tile_loadd(5, values + 1024, 64);
  _tile_loadd(6, values + 2048, 64);
  _tile_loadd(7, values + 3072, 64);
  for (std::int64_t round = 0; round < rounds; ++round) Dot::round();
  _tile_stored(0, sink, 64);
}

}  // namespace
}  // namespace weft::peak
