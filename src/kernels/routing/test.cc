// SPDX-License-Identifier: Apache-2.0
// Every line of kernels.inc against plain loops, and against the scalar line bit by bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/routing/routing.h"
#include "kernels/rows/reference.h"
#include "kernels/rows/test_memory.h"

namespace weft::routing {
namespace {

using rows::Canaried;
using rows::EndOfMemory;
using rows::reference::load;
using Bytes = std::vector<std::byte>;

class RoutingTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    for (const isa::Row& row : isa::rows())
      if (row.bit == kernel().isa && !row.available) GTEST_SKIP() << row.reason;
  }
  const Kernels& kernel() const { return kernels()[static_cast<std::size_t>(GetParam())]; }
  const Kernels& scalar() const { return select(type(), isa::kScalar); }
  DType type() const { return kernel().type; }

  double normal(double deviation) { return std::normal_distribution<double>(0, deviation)(rng_); }
  Bytes row_of(const std::vector<double>& values) const {
    Bytes bytes(static_cast<std::size_t>(bytes_of(type(), std::ssize(values))));
    for (std::int64_t i = 0; i < std::ssize(values); ++i)
      rows::reference::store(type(), bytes.data(), i, values[static_cast<std::size_t>(i)]);
    return bytes;
  }
  Bytes random_row(std::int64_t n, double deviation) {
    std::vector<double> values(static_cast<std::size_t>(n));
    for (double& v : values) v = normal(deviation);
    return row_of(values);
  }

  // --gtest_shuffle with --gtest_random_seed gives other data.
  const int seed_ = testing::UnitTest::GetInstance()->random_seed();
  std::mt19937 rng_{static_cast<unsigned>(seed_)};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
};

std::vector<float> softmax(const Kernels& by, const Bytes& x, std::int64_t n) {
  EndOfMemory memory;  // no byte beyond the row is read
  const std::int64_t room = (n + 31) / 32 * 32;
  Canaried<float> p(room, 3);
  by.softmax_row(memory.put(x), n, p.data());
  EXPECT_TRUE(p.guards_intact()) << "n " << n;
  return {p.data(), p.data() + n};
}

// Relative errors, u = 2^-24: x - m is off by u of itself, which exp makes that times |x - m|; exp
// adds kExpUlps, at most 2 u each. The sum has the weighted mean of those errors, n / 32 + 5
// additions in a row; the quotient rounds once. Results below the normal range: two last places.
TEST_P(RoutingTest, SoftmaxAgainstDouble) {
  constexpr double kU = 0x1p-24;
  std::vector<std::int64_t> sizes = {127, 128, 129, 256, 1000, 4096};
  for (std::int64_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (const std::int64_t n : sizes)
    for (const double deviation : {0.01, 3.0, 60.0}) {
      const Bytes x = random_row(n, deviation);
      const auto got = softmax(kernel(), x, n);
      double m = -INFINITY, sum = 0, sum_error = 0;
      const auto distance = [&](std::int64_t j) { return load(type(), x.data(), j) - m; };
      const auto error = [&](std::int64_t j) {
        return kU * std::fabs(distance(j)) + 2 * activation::kExpUlps * kU;
      };
      for (std::int64_t j = 0; j < n; ++j) m = std::max(m, load(type(), x.data(), j));
      for (std::int64_t j = 0; j < n; ++j) {
        sum += std::exp(distance(j));
        sum_error += std::exp(distance(j)) * error(j);
      }
      const double of_sum = sum_error / sum + (static_cast<double>(n) / 32 + 6) * kU;
      for (std::int64_t j = 0; j < n; ++j) {
        const double want = std::exp(distance(j)) / sum;
        const double bound = 1.01 * want * (error(j) + of_sum) + 0x1p-148;
        ASSERT_NEAR(got[static_cast<std::size_t>(j)], want, bound) << j << " of " << n;
      }
      ASSERT_EQ(got, softmax(scalar(), x, n)) << "n " << n;
    }
}

TEST_P(RoutingTest, SoftmaxOfSpecialValues) {
  const auto all_nan = [](const std::vector<float>& p) {
    return std::all_of(p.begin(), p.end(), [](float f) { return std::isnan(f); });
  };
  for (const std::int64_t n : {1, 5, 32, 33, 70}) {
    std::vector<double> x(static_cast<std::size_t>(n), -INFINITY);
    EXPECT_TRUE(all_nan(softmax(kernel(), row_of(x), n)));
    x.back() = -2;  // a single one that is finite has everything
    std::vector<float> one(x.size(), 0.0f);
    one.back() = 1;
    EXPECT_EQ(softmax(kernel(), row_of(x), n), one);
    for (const double special : {double{NAN}, double{INFINITY}}) {
      x.assign(x.size(), 1);
      x[x.size() / 2] = special;
      EXPECT_TRUE(all_nan(softmax(kernel(), row_of(x), n))) << special;
    }
  }
}

std::vector<int> sorted(const std::vector<float>& values, std::size_t k) {
  std::vector<int> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int i) { return values[static_cast<std::size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    if (std::isnan(key(a)) || std::isnan(key(b))) return !std::isnan(key(a)) && std::isnan(key(b));
    return key(a) > key(b);
  });
  order.resize(k);
  return order;
}

TEST_P(RoutingTest, TopKIsAStableSort) {
  EndOfMemory memory;
  std::vector<std::size_t> sizes = {100, 128, 257, 1000};
  for (std::size_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (const std::size_t n : sizes)
    for (int kind = 0; kind < 7; ++kind) {
      std::vector<float> values(n);
      for (std::size_t i = 0; i < n; ++i) {
        const auto at = static_cast<float>(i);
        values[i] = kind == 0   ? static_cast<float>(normal(1))
                    : kind == 1 ? static_cast<float>(rng_() % 4)  // many equal
                    : kind == 2 ? at
                    : kind == 3 ? -at
                    : kind == 4 ? (rng_() % 2 ? NAN : static_cast<float>(rng_() % 3))
                    : kind == 5 ? (rng_() % 8 ? NAN : -INFINITY)
                                : (rng_() % 2 ? 0.0f : -0.0f);
      }
      const float* at = memory.put(values);
      for (const std::size_t k :
           {std::size_t{1}, std::size_t{2}, std::size_t{8}, std::size_t{33}, n / 2, n}) {
        if (k < 1 || k > n) continue;
        Canaried<std::uint64_t> scratch(static_cast<std::int64_t>(k), 1);
        Canaried<std::int32_t> best(static_cast<std::int64_t>(k), 1);
        kernel().top_k(at, static_cast<std::int64_t>(n), static_cast<std::int64_t>(k),
                       scratch.data(), best.data());
        EXPECT_TRUE(best.guards_intact() && scratch.guards_intact());
        const std::vector<int> got(best.data(), best.data() + k);
        ASSERT_EQ(got, sorted(values, k)) << "n " << n << " k " << k << " kind " << kind;
      }
    }
}

// What combine_row gives, one operation after the other.
double combined(DType type, const CombineRow& a, std::int64_t j) {
  const auto step = [type](double x) {  // of T's arithmetic, or of fp32
    if (type != DType::kFloat16) return static_cast<double>(static_cast<float>(x));
    std::uint16_t h;
    rows::reference::store(type, &h, 0, x);
    return load(type, &h, 0);
  };
  const auto term = [&](std::int64_t r) {
    double t = load(type, a.row[r], j);
    if (a.bias) t = step(t + load(type, a.bias[r], j));
    return a.scale ? step(t * static_cast<double>(a.scale[r])) : t;
  };
  double sum = 0;
  std::int64_t r = 0;
  if (a.x1 && a.x2)
    sum = step(load(type, a.x1, j) + load(type, a.x2, j));
  else if (a.x1 || a.x2)
    sum = load(type, a.x1 ? a.x1 : a.x2, j);
  else if (a.count > 0)
    sum = term(r++);
  for (; r < a.count; ++r) sum = step(sum + term(r));
  return sum;
}

TEST_P(RoutingTest, CombineRoundsEveryStep) {
  EndOfMemory memory[4];
  for (const std::int64_t n : {1, 2, 31, 32, 33, 64, 100, 300})
    for (int form = 0; form < 16; ++form)
      for (const std::int64_t count : {0, 1, 2, 5}) {
        CombineRow a{};
        a.n = n, a.count = count;
        std::vector<Bytes> rows, biases;
        std::vector<const void*> row, bias;
        std::vector<float> scale;
        // Now and then so large that sums overflow.
        const double size = form == 15 && n == 33 ? 30000 : 2;
        for (std::int64_t r = 0; r < count; ++r) {
          rows.push_back(random_row(n, size));
          biases.push_back(random_row(n, 1));
          const Bytes s = random_row(1, 1);
          scale.push_back(static_cast<float>(load(type(), s.data(), 0)));
        }
        for (std::int64_t r = 0; r < count; ++r) {
          row.push_back(rows[static_cast<std::size_t>(r)].data());
          bias.push_back(biases[static_cast<std::size_t>(r)].data());
        }
        if (count > 0) row[0] = memory[0].put(rows[0]);
        if (count > 0) bias[0] = memory[1].put(biases[0]);
        a.row = row.data();
        if (form & 1) a.bias = bias.data();
        if (form & 2) a.scale = scale.data();
        if (form & 4) a.x1 = memory[2].put(random_row(n, size));
        if (form & 8) a.x2 = memory[3].put(random_row(n, size));
        a.store = form % 3 ? rows::Store::kPlain : rows::Store::kStream;
        const auto bytes = bytes_of(type(), n), one = bytes_of(type(), 1);
        Canaried<char> out(bytes, static_cast<int>((n % 3) * one));
        a.out = out.data();
        kernel().combine_row(a);
        rows::stream_fence();
        EXPECT_TRUE(out.guards_intact());
        for (std::int64_t j = 0; j < n; ++j) {
          std::uint32_t want = 0, got = 0;
          rows::reference::store(type(), &want, 0, combined(type(), a, j));
          std::memcpy(&got, out.data() + j * one, static_cast<std::size_t>(one));
          if (std::isnan(load(type(), &want, 0)) && std::isnan(load(type(), &got, 0))) continue;
          ASSERT_EQ(got, want) << "n " << n << " form " << form << " count " << count << " at "
                               << j;
        }
      }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RoutingTest,
                         testing::Range(0, static_cast<int>(std::ssize(kernels()))),
                         [](const auto& info) {
                           return std::string(kernels()[static_cast<std::size_t>(info.param)].name);
                         });

TEST(RoutingTable, BestFirstAndScalarLast) {
  for (const DType type : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    EXPECT_EQ(select(type, 0).isa, isa::kScalar);
    EXPECT_EQ(select(type, isa::kScalar | isa::kAvx2).isa, isa::kAvx2);
    EXPECT_EQ(select(type, ~isa::Set{0}).isa, isa::kAvx512);
    EXPECT_EQ(select(type, ~isa::Set{0}).type, type);
  }
}

}  // namespace
}  // namespace weft::routing
