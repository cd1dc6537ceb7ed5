// SPDX-License-Identifier: Apache-2.0
// Every measurement by name.
#pragma once

#include <string>
#include <vector>

#include "registrar.h"

namespace weft::bench {

/// A group of measurements that are prepared together and run interleaved. Names are
/// "section/what/dtype/shape/x2 layout".
struct Section {
  std::string name;
  double share;  ///< of the time, beside those of the others: what a run without AMX takes, and
                 ///< more for fused
  void (*add)(Registrar&);
};
const std::vector<Section>& sections();

void add_small(Registrar& registrar);

}  // namespace weft::bench
