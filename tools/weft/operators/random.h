// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine.
#pragma once

#include <cstdint>

#include "weft/dtype.h"

namespace weft::tools {

/// A sequence of random words that depends on its three keys alone.
class Random {
 public:
  Random(std::uint64_t seed, int rank, int stream);
  std::uint64_t next();
  double uniform(double low, double high);  ///< in [low, high)

 private:
  std::uint64_t state_;
};

/// Fills with values of a float type, uniform in [low, high), rounded to nearest.
void fill_floats(Random& random, DType dtype, double low, double high, std::int64_t count,
                 void* to);
/// The same for any dtype: int32 is truncated, 64-bit integers are packed scales. int8 and int4 use
/// all their values, whatever the range.
void fill(Random& random, DType dtype, double low, double high, std::int64_t count, void* to);
/// The 64-bit form of a dequantisation scale: fp32 without its low 13 bits, and bit 46.
std::uint64_t pack_scale(float scale);

}  // namespace weft::tools
