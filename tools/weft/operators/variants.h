// SPDX-License-Identifier: Apache-2.0
// The ways to call one row of dtypes at one shape: what `weft check` tries.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "operators/cases.h"

namespace weft::tools {

struct Variant {
  Case made;
  OutputForm outputs = OutputForm::kSeparate;
  bool nz_x2 = false;

  std::string text(int ranks) const;
};

std::vector<Variant> variants(const Shape& shape, const DTypeRow& row, int ranks,
                              std::uint64_t seed);

}  // namespace weft::tools
