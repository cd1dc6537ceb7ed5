// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak/kernels.h"
#include "kernels/peak/x86_amx.h"

namespace weft::peak {
namespace {

struct DotInt8 {
  static void round() {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
};

}  // namespace

void int8_amxint8(const void* data, std::int64_t rounds, void* sink) {
  multiply_tiles<DotInt8>(data, rounds, sink);
}

}  // namespace weft::peak
