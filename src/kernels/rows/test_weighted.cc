// SPDX-License-Identifier: Apache-2.0
// weighted_sum_row and weighted_sum_norm_row of every line of kernels.inc that has them, against
// the reference bit for bit, and examples worked by hand.
#include <deque>

#include "kernels/rows/test_support.h"

namespace weft::rows {
namespace {

class RowsWeighted : public RowsTest {
 protected:
  static std::vector<std::int64_t> row_lengths() {
    auto all = lengths();
    for (int n : {1027, 7168}) all.push_back(n);
    return all;
  }
  static int count_for(std::int64_t n) { return n > 1000 ? 3 : static_cast<int>(n % 11); }

  // Rows that last as long as the test object; the first four end where memory ends.
  std::vector<Term> random_terms(int count, std::int64_t n, Data data) {
    rows_.clear();
    float_rows_.clear();
    std::vector<Term> terms;
    const auto weights = random_weights(count, data);
    for (int t = 0; t < count; ++t) {
      Term term = {nullptr, weights[t], rng_() % 4 == 0};
      const auto keep = [&](auto& rows, auto row) {
        rows.push_back(std::move(row));
        term.row = t < 4 ? memory_[t].put(rows.back()) : rows.back().data();
      };
      if (term.is_f32)
        keep(float_rows_, random_floats(n, data));
      else
        keep(rows_, random_row(n, data));
      terms.push_back(term);
    }
    return terms;
  }
  std::vector<float> random_weights(int count, Data data) {
    if (data == Data::kAnyBits) return random_scales(count);
    std::vector<float> weights(count);
    for (float& w : weights) w = static_cast<float>(std::normal_distribution<double>()(rng_));
    return weights;
  }
  // As wide as T's values, with all the bits of a float.
  std::vector<float> random_floats(std::int64_t n, Data data) {
    const auto row = random_row(n, data);
    std::vector<float> floats(n);
    for (std::int64_t j = 0; j < n; ++j)
      floats[j] = static_cast<float>(widen_one(row[j])) *
                  (1 + static_cast<float>(rng_() % 4096) * 0x1p-20f);
    return floats;
  }
  // The sum of one element, each term with a weight.
  double sum_of(const std::vector<std::pair<double, float>>& values) {
    std::vector<U16> src;
    for (auto [value, weight] : values) src.push_back(narrow_one(value));
    std::vector<Term> terms;
    for (std::size_t t = 0; t < values.size(); ++t) terms.push_back({&src[t], values[t].second});
    U16 dst = 0x1234;
    kernel().weighted_sum_row(
        {terms.data(), static_cast<int>(terms.size()), 1, &dst, Store::kPlain});
    return widen_one(dst);
  }
  struct Normed {
    std::vector<U16> x, y;
    float rstd;
  };
  void norm_matches_reference(std::int64_t n, Data data);
  void expect_norm(WeightedSumNormRow row, std::vector<Term> terms, const Normed& want,
                   int x_offset, bool in_place);
  void example(const std::vector<std::pair<double, float>>& terms, const double (&residual)[2],
               const double (&x)[2], float rstd, const double (&y)[2]);

  std::deque<std::vector<U16>> rows_;
  std::deque<std::vector<float>> float_rows_;
};

TEST_P(RowsWeighted, SumMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      auto terms = random_terms(count_for(n), n, data);
      const int count = static_cast<int>(terms.size());
      std::vector<U16> want(n);
      reference::weighted_sum_row(type(), {terms.data(), count, n, want.data()});
      expect_row(want, [&](U16* dst, Store store) {
        kernel().weighted_sum_row({terms.data(), count, n, dst, store});
      });
      for (int t = 0; t < count; ++t) {
        if (terms[t].is_f32) continue;
        const auto* row = static_cast<const U16*>(terms[t].row);
        std::vector<U16> in_place(row, row + n);
        auto moved = terms;
        moved[t].row = in_place.data();
        kernel().weighted_sum_row({moved.data(), count, n, in_place.data(), kStores[t % 2]});
        ASSERT_EQ(difference(want.data(), in_place.data(), n), "") << "in place of " << t;
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowsWeighted, SumRoundsProductsAndSumsInOrder) {
  // The product is a tie of floats that goes to 1.5 + 2^-22; fused it would leave 1.5 · 2^-23.
  EXPECT_EQ(sum_of({{-1.5, 1}, {1.5, 1 + 0x1p-23f}}), 0x1p-22);
  // big + small is a tie in fp32 that goes to big; small + small first is one unit of big.
  const double big = type() == DType::kFloat16 ? 0x1p15 : 0x1p24, small = big * 0x1p-24;
  EXPECT_EQ(sum_of({{big, 1}, {small, 1}, {small, 1}, {-big, 1}}), 0);
  EXPECT_EQ(sum_of({{small, 1}, {small, 1}, {big, 1}, {-big, 1}}), 2 * small);
  // A sum starts at +0, and without terms stays there.
  EXPECT_FALSE(std::signbit(sum_of({{-0.0, 1}})));
  EXPECT_EQ(sum_of({}), 0);
  // Rounded to T once, at the end.
  const double unit = type() == DType::kFloat16 ? 0x1p-11 : 0x1p-8;
  EXPECT_EQ(sum_of({{1, 1}, {1, static_cast<float>(unit)}, {unit, 1}}), 1 + 2 * unit);
  const double most = type() == DType::kFloat16 ? 65504 : 0x1.fep127;
  EXPECT_EQ(sum_of({{most, 1}, {most, 1}}), INFINITY);
  EXPECT_EQ(sum_of({{most, 2}, {-most, 1}}), type() == DType::kFloat16 ? most : INFINITY);
  EXPECT_TRUE(std::isnan(sum_of({{0, INFINITY}})));
}

void RowsWeighted::norm_matches_reference(std::int64_t n, Data data) {
  const int count = std::max(1, count_for(n));
  auto terms = random_terms(count, n, data);
  auto residual = random_row(n, data), gamma = random_row(n, data);
  if (n % 50 == 0) reference::store(type(), residual.data(), n / 2, n % 4 == 0 ? INFINITY : NAN);
  if (n % 45 == 0) terms[0].weight = INFINITY;
  std::vector<U16> x(n), y(n);
  std::vector<float> scratch_want(n);
  float rstd_want = 0;
  terms.push_back({residual.data(), 1});
  WeightedSumNormRow row = {.terms = terms.data(),
                            .count = count + 1,
                            .n = n,
                            .gamma = gamma.data(),
                            .epsilon = 1e-5f,
                            .x = x.data(),
                            .y = y.data(),
                            .rstd = &rstd_want,
                            .scratch = scratch_want.data(),
                            .store = Store::kPlain};
  reference::weighted_sum_norm_row(type(), row);
  row.gamma = count < 4 ? memory_[3].put(gamma) : gamma.data();  // else a term lies there
  for (int x_offset : {0, 8, 31}) {
    for (bool in_place : {false, true}) {
      SCOPED_TRACE("n " + std::to_string(n) + " x offset " + std::to_string(x_offset) +
                   " in place " + std::to_string(in_place));
      expect_norm(row, terms, {x, y, rstd_want}, x_offset, in_place);
      if (HasFatalFailure()) return;
    }
  }
}

// The last of the terms is the residual; in place, x is its memory.
void RowsWeighted::expect_norm(WeightedSumNormRow row, std::vector<Term> terms, const Normed& want,
                               int x_offset, bool in_place) {
  const std::int64_t n = row.n;
  const auto* residual = static_cast<const U16*>(terms.back().row);
  Canaried<U16> x(n, x_offset);
  Canaried<float> scratch((n + 31) / 32 * 32, 0);
  float rstd = 0;
  if (in_place) terms.back().row = x.data();
  row.terms = terms.data();
  row.x = x.data();
  row.scratch = scratch.data();
  row.rstd = in_place ? nullptr : &rstd;
  expect_row(want.y, [&](U16* dst, Store store) {
    std::memcpy(x.data(), residual, n * sizeof(U16));
    row.y = dst;
    row.store = store;
    kernel().weighted_sum_norm_row(row);
    stream_fence();
    ASSERT_EQ(difference(want.x.data(), x.data(), n), "") << "x";
    ASSERT_TRUE(!row.rstd || rstd == want.rstd || (std::isnan(rstd) && std::isnan(want.rstd)))
        << rstd << " instead of " << want.rstd;
  });
  ASSERT_TRUE(x.guards_intact() && scratch.guards_intact());
}

TEST_P(RowsWeighted, NormMatchesReference) {
  for (std::int64_t n : row_lengths()) {
    for (Data data : {Data::kNormal, Data::kWide, Data::kAnyBits}) {
      norm_matches_reference(n, data);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowsWeighted, NormIsThatOfAddRmsNormWhereSumsAreExact) {
  constexpr std::int64_t kN = 1000;
  std::vector<U16> m(kN), residual(kN);
  for (auto* row : {&m, &residual})
    for (U16& value : *row) value = narrow_one(static_cast<int>(rng_() % 127) - 63);
  const auto gamma = random_row(kN, Data::kNormal);
  alignas(64) U16 scratch[1024];
  alignas(64) float float_scratch[1024];
  std::vector<U16> want_y(kN), want_out(kN), x(kN), y(kN);
  float want_rstd = 0, rstd = 0;
  kernel().add_rmsnorm_row({.n = kN,
                            .m = m.data(),
                            .residual = residual.data(),
                            .gamma = gamma.data(),
                            .epsilon = 1e-6f,
                            .y = want_y.data(),
                            .out = want_out.data(),
                            .scratch = scratch,
                            .store = Store::kPlain,
                            .rstd = &want_rstd});
  const Term terms[] = {{m.data(), 1}, {residual.data(), 1}};
  kernel().weighted_sum_norm_row({.terms = terms,
                                  .count = 2,
                                  .n = kN,
                                  .gamma = gamma.data(),
                                  .epsilon = 1e-6f,
                                  .x = x.data(),
                                  .y = y.data(),
                                  .rstd = &rstd,
                                  .scratch = float_scratch,
                                  .store = Store::kPlain});
  EXPECT_EQ(x, want_y);
  EXPECT_EQ(y, want_out);
  EXPECT_EQ(rstd, want_rstd);
}

// Rows of two values, at even and at odd places.
void RowsWeighted::example(const std::vector<std::pair<double, float>>& terms,
                           const double (&residual)[2], const double (&x)[2], float rstd,
                           const double (&y)[2]) {
  constexpr std::int64_t kN = 1024;
  const auto row_of = [&](double even, double odd) {
    std::vector<U16> row(kN);
    for (std::int64_t j = 0; j < kN; ++j) row[j] = narrow_one(j % 2 == 0 ? even : odd);
    return row;
  };
  std::vector<Term> all;
  for (auto [value, weight] : terms) {
    rows_.push_back(row_of(value, value));
    all.push_back({rows_.back().data(), weight});
  }
  auto x_got = row_of(residual[0], residual[1]);
  all.push_back({x_got.data(), 1});
  const auto gamma = row_of(1, 0.75);
  std::vector<U16> y_got(kN);
  alignas(64) float scratch[kN];
  float rstd_got = 0;
  kernel().weighted_sum_norm_row({.terms = all.data(),
                                  .count = static_cast<int>(all.size()),
                                  .n = kN,
                                  .gamma = gamma.data(),
                                  .epsilon = 1e-6f,
                                  .x = x_got.data(),
                                  .y = y_got.data(),
                                  .rstd = &rstd_got,
                                  .scratch = scratch,
                                  .store = Store::kPlain});
  EXPECT_EQ(x_got, row_of(x[0], x[1]));
  EXPECT_EQ(y_got, row_of(y[0], y[1]));
  EXPECT_NEAR(rstd_got, rstd, rstd * 2e-6);
}

class RowsWeightedBFloat16 : public RowsWeighted {
 public:
  static std::vector<int> lines() {
    auto all = lines_with(&Kernels::weighted_sum_norm_row);
    std::erase_if(all, [](int line) { return kernels()[line].type != DType::kBFloat16; });
    return all;
  }
};

TEST_P(RowsWeightedBFloat16, NormExamples) {
  // y at odd places is rounded before gamma: 0.84765625 otherwise.
  example({{1, .5f}, {3, .25f}}, {1.75, 2.75}, {3, 4}, 0.28284270f, {0.84765625, 0.8515625});
  example({{8, 1}, {2, .5f}}, {-12, -6}, {-3, 3}, 0.33333331f, {-1, 0.75});
  example({{6, .25f}, {9, .75f}}, {-.25, -.25}, {8, 8}, 0.125f, {1, 0.75});
  example({{12, .5f}, {8, .5f}}, {-10, -10}, {0, 0}, 999.99994f, {0, 0});
  // The norm is that of the sum before it is rounded: 0.13333333 otherwise.
  example({{5, .75f}, {15, .25f}}, {0.015625, 0}, {7.5, 7.5}, 0.13319451f, {1, 0.75});
  example({{24, 1}, {18, .125f}}, {.25, -.25}, {26.5, 26}, 0.03809351f, {1.0078125, 0.7421875});
}

INSTANTIATE_TEST_SUITE_P(Kernels, RowsWeighted,
                         testing::ValuesIn(lines_with(&Kernels::weighted_sum_norm_row)), line_name);

INSTANTIATE_TEST_SUITE_P(Kernels, RowsWeightedBFloat16,
                         testing::ValuesIn(RowsWeightedBFloat16::lines()), line_name);

}  // namespace
}  // namespace weft::rows
