// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak/kernels.h"
#include "kernels/peak/x86_amx.h"

namespace weft::peak {
namespace {

struct DotBf16 {
  static void round() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace

void bf16_amxbf16(const void* data, std::int64_t rounds, void* sink) {
  multiply_tiles<DotBf16>(data, rounds, sink);
}

}  // namespace weft::peak
