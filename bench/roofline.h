// SPDX-License-Identifier: Apache-2.0
// Every measurement beside what limits it, as a picture.
#pragma once

#include <string>
#include <vector>

#include "report.h"

namespace weft::bench {

/// All figures are of one core.
struct Roofline {
  struct Roof {
    std::string name;
    double ops_per_second;
  };
  struct Point {
    std::string section, dtype;  ///< "bfloat16 int8": bfloat16 with int8 weights
    std::string title;
    double intensity;  ///< operations for each byte of memory traffic
    double ops_per_second;
  };
  /// A call without a product.
  struct CopyShare {
    std::string title;
    double share;  ///< of the speed of copying
  };

  std::string title, subtitle;
  double read_bytes_per_second = 0;
  std::vector<Roof> roofs;  ///< the lowest first
  std::vector<Point> points;
  std::vector<CopyShare> copies;
};

/// What the table has a line for; not what that is compared with.
Roofline roofline(const Report& report);

/// Operations per second over operations per byte, both logarithmic, and below it the shares of
/// copying; either is left out if it is empty.
std::string roofline_svg(const Roofline& all);

}  // namespace weft::bench
