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

}  // namespace
}  // namespace weft::peak
