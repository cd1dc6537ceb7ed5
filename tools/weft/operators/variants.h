// SPDX-License-Identifier: Apache-2.0
// A way to call a row of dtypes at a shape: one of those that `weft check` tries.
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

}  // namespace weft::tools
