// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak/kernels.h"
#include "kernels/peak/x86_amx.h"

namespace weft::peak {

// Two tiles of A, two of B and four sums: the 2 x 2 block of the micro-kernel. A product starts
// every 16 cycles and takes 52, so four sums keep the unit busy.
void int8_amxint8(const void* data, std::int64_t rounds, void* sink) {
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
  for (std::int64_t round = 0; round < rounds; ++round) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, sink, 64);
}

}  // namespace weft::peak
