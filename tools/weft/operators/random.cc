// SPDX-License-Identifier: Apache-2.0
#include "operators/random.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/float16.h"

namespace weft::tools {
namespace {

template <typename T, typename Round>
void fill_with(Random& random, double low, double high, std::int64_t count, T* out, Round round) {
  // Rounding each of hundreds of millions of values costs seconds. A table of values that were
  // drawn and rounded one by one, read at random places, costs one random word for four of them.
  constexpr std::int64_t kTable = 1 << 14;
  std::int64_t i = 0;
  if (count > 4 * kTable) {
    std::vector<T> table(kTable);
    for (T& entry : table) entry = round(random.uniform(low, high));
    for (; i + 4 <= count; i += 4) {
      const std::uint64_t word = random.next();
      for (int j = 0; j < 4; ++j) out[i + j] = table[(word >> (16 * j)) % kTable];
    }
  }
  for (; i < count; ++i) out[i] = round(random.uniform(low, high));
}

}  // namespace

Random::Random(std::uint64_t seed, int rank, int stream) : state_(seed) {
  // next() mixes well, so hashing the keys in one after the other separates the sequences.
  state_ = next() ^ static_cast<std::uint64_t>(rank);
  state_ = next() ^ static_cast<std::uint64_t>(stream);
  state_ = next();
}

// SplitMix64: one add, two multiplies; passes BigCrush, and any state is a good state.
std::uint64_t Random::next() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
  return low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53;
}

void fill_floats(Random& random, DType dtype, double low, double high, std::int64_t count,
                 void* to) {
  if (dtype == DType::kFloat32) {
    fill_with(random, low, high, count, static_cast<float*>(to),
              [](double value) { return static_cast<float>(value); });
  } else {
    fill_with(random, low, high, count, static_cast<std::uint16_t*>(to), [dtype](double value) {
      return dtype == DType::kFloat16 ? f64_to_fp16(value) : f64_to_bf16(value);
    });
  }
}

void fill(Random& random, DType dtype, double low, double high, std::int64_t count, void* to) {
  switch (dtype) {
    case DType::kInt32:
      for (std::int64_t i = 0; i < count; ++i)
        static_cast<std::int32_t*>(to)[i] = static_cast<std::int32_t>(random.uniform(low, high));
      return;
    case DType::kInt64:
    case DType::kUInt64:
      for (std::int64_t i = 0; i < count; ++i)
        static_cast<std::uint64_t*>(to)[i] =
            pack_scale(static_cast<float>(random.uniform(low, high)));
      return;
    case DType::kInt8:
    case DType::kInt4: {
      const std::int64_t bytes = bytes_of(dtype, count);
      for (std::int64_t i = 0; i < bytes; i += 8) {
        const std::uint64_t word = random.next();
        std::memcpy(static_cast<std::byte*>(to) + i, &word,
                    static_cast<std::size_t>(std::min<std::int64_t>(8, bytes - i)));
      }
      return;
    }
    default:
      fill_floats(random, dtype, low, high, count, to);
  }
}

std::uint64_t pack_scale(float scale) {
  return (std::uint64_t{1} << 46) | (std::bit_cast<std::uint32_t>(scale) & 0xffffe000u);
}

}  // namespace weft::tools
