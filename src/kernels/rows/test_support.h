// SPDX-License-Identifier: Apache-2.0
// What the tests of the rows family share: the lines of kernels.inc as parameters, random rows with
// a printed seed, and comparison bit for bit (nan as nan) at several alignments between canaries.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "kernels/rows/reference.h"
#include "kernels/rows/rows.h"
#include "kernels/rows/test_memory.h"

namespace weft::rows {

using U16 = std::uint16_t;
constexpr Store kStores[] = {Store::kPlain, Store::kStream};

enum class Data { kNormal, kWide, kAnyBits };

// The indices into kernels() of the lines that have `function`.
template <class Fn>
std::vector<int> lines_with(Fn Kernels::*function) {
  std::vector<int> lines;
  for (int i = 0; i < static_cast<int>(std::ssize(kernels())); ++i)
    if (kernels()[i].*function) lines.push_back(i);
  return lines;
}

inline std::string line_name(const testing::TestParamInfo<int>& info) {
  return std::string(kernels()[info.param].name);
}

class RowsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel().isa && !row.available) GTEST_SKIP() << row.reason;
  }
  const Kernels& kernel() const { return kernels()[GetParam()]; }
  DType type() const { return kernel().type; }

  static std::vector<std::int64_t> lengths() {
    std::vector<std::int64_t> all;
    for (int n = 1; n <= 130; ++n) all.push_back(n);
    for (int n : {255, 1000, 8192, 65537}) all.push_back(n);
    return all;
  }
  U16 narrow_one(double value) const {
    return type() == DType::kFloat16 ? f64_to_fp16(value) : f64_to_bf16(value);
  }
  double widen_one(U16 bits) const { return reference::load(type(), &bits, 0); }

  // E is U16, the bits of a T of 16 bits, or float.
  template <class E = U16>
  E random_value(Data data) {
    if (data == Data::kAnyBits) {
      const auto bits = static_cast<std::uint32_t>(rng_());
      E value;
      std::memcpy(&value, &bits, sizeof(E));
      return value;
    }
    // Wide: exponents where sums cancel and lose bits, squares do not overflow, some subnormals.
    const int spread = type() == DType::kFloat16 ? 26 : 60;
    double value = std::normal_distribution<double>()(rng_);
    if (data == Data::kWide)
      value = std::ldexp(value, static_cast<int>(rng_() % spread) - spread + 10);
    E stored;
    reference::store(type(), &stored, 0, value);
    return stored;
  }
  template <class E = U16>
  std::vector<E> random_row(std::int64_t n, Data data) {
    std::vector<E> row(n);
    for (E& value : row) value = random_value<E>(data);
    return row;
  }
  std::vector<std::int8_t> random_int8(std::int64_t n) {
    std::vector<std::int8_t> row(n);
    for (auto& value : row) value = static_cast<std::int8_t>(rng_());
    return row;
  }
  // Scales to divide or multiply by: usual ones, powers of two (ties), and what a caller may give
  // by mistake: zeros, infinities, nan, subnormals, negative numbers.
  std::vector<float> random_scales(std::int64_t n) {
    constexpr float kOdd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, 0x1p-130f, 3e38f};
    std::vector<float> scales(n);
    for (float& scale : scales) {
      scale = static_cast<float>(std::exp(std::normal_distribution<double>(0, 2)(rng_)));
      if (rng_() % 4 == 0) scale = std::ldexp(1.0f, static_cast<int>(rng_() % 12) - 8);
      if (rng_() % 8 == 0) scale = kOdd[rng_() % std::size(kOdd)];
      if (rng_() % 8 == 0) scale = -scale;
    }
    return scales;
  }

  // Empty if equal (nan as nan), else the first difference.
  template <class E>
  std::string difference(const E* want, const E* got, std::int64_t n) const {
    for (std::int64_t j = 0; j < n; ++j) {
      if (std::memcmp(want + j, got + j, sizeof(E)) == 0) continue;
      const double w = value_of(want + j), g = value_of(got + j);
      if (!(std::isnan(w) && std::isnan(g)))
        return "element " + std::to_string(j) + " of " + std::to_string(n) + ": want " +
               std::to_string(w) + ", got " + std::to_string(g);
    }
    return "";
  }

  // run(dst, store) writes n elements; they must be `want`, at every alignment, either way.
  template <class E, class Run>
  void expect_row(const std::vector<E>& want, const Run& run) {
    const auto n = std::ssize(want);
    for (Store store : kStores) {
      for (int offset : {0, 1, 16, 31}) {
        Canaried<E> dst(n, offset);
        run(dst.data(), store);
        stream_fence();
        ASSERT_EQ(difference(want.data(), dst.data(), n), "")
            << "offset " << offset << " store " << static_cast<int>(store);
        ASSERT_TRUE(dst.guards_intact()) << "n " << n << " offset " << offset;
      }
    }
  }

  // --gtest_shuffle with --gtest_random_seed gives other data.
  const int seed_ = testing::UnitTest::GetInstance()->random_seed();
  std::mt19937 rng_{static_cast<unsigned>(seed_)};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  EndOfMemory memory_[4];

 private:
  double value_of(const std::int8_t* p) const { return *p; }
  template <class E>
  double value_of(const E* p) const {
    return reference::load(type(), p, 0);
  }
};

}  // namespace weft::rows
