// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/activation.h"

namespace weft::activation {

#define WEFT_ACTIVATION(isa_bit, suffix)              \
  ActivateTileFn tile_##suffix(Form, Function, bool); \
  void exp_##suffix(const float*, float*, std::int64_t);
#include "kernels/activation/kernels.inc"
#undef WEFT_ACTIVATION

namespace {

constexpr Kernels kTable[] = {
#define WEFT_ACTIVATION(isa_bit, suffix) \
  {"activation_" #suffix, isa::isa_bit, tile_##suffix, exp_##suffix},
#include "kernels/activation/kernels.inc"
#undef WEFT_ACTIVATION
};

// The last row is scalar, which is always there.
const Kernels& best(isa::Set available) {
  for (const Kernels& row : kTable)
    if (row.isa & available) return row;
  return std::end(kTable)[-1];
}

}  // namespace

std::span<const Kernels> kernels() { return kTable; }

ActivateTileFn select(Form form, Function function, bool gated, isa::Set available) {
  return best(available).tile(form, function, gated);
}

std::string_view name(isa::Set available) { return best(available).name; }

}  // namespace weft::activation
