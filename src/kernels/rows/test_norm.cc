// SPDX-License-Identifier: Apache-2.0
// add_rmsnorm_row of every line of kernels.inc, against the reference bit for bit and against
// double arithmetic within a derived bound.
#include <initializer_list>

#include "kernels/rows/test_support.h"

namespace weft::rows {
namespace {

class RowsNorm : public RowsTest {
 protected:
  // Below the normal range a rounding is half a subnormal step.
  double half_step() const {
    if (type() == DType::kFloat16) return 0x1p-25;
    return type() == DType::kBFloat16 ? 0x1p-134 : 0x1p-150;
  }
  template <class E>
  double value(E stored) const {
    return reference::load(type(), &stored, 0);
  }
  template <class E>
  std::vector<E> row_of(std::initializer_list<double> values) const {
    std::vector<E> row(values.size());
    std::int64_t j = 0;
    for (double value : values) reference::store(type(), row.data(), j++, value);
    return row;
  }

  /// What the reference makes of a row.
  template <class E>
  struct Wanted {
    std::vector<E> y, out, scratch;
    float rstd = 0;
  };
  /// `want` is filled and pointed to.
  template <class E>
  AddRmsNormRow reference_row(const std::vector<E>& m, const std::vector<E>& residual,
                              const std::vector<E>& gamma, Wanted<E>& want) const {
    const auto n = static_cast<std::int64_t>(m.size());
    for (std::vector<E>* row : {&want.y, &want.out, &want.scratch}) row->resize(m.size());
    const AddRmsNormRow row = {.n = n,
                               .m = m.data(),
                               .residual = residual.data(),
                               .gamma = gamma.data(),
                               .epsilon = 1e-5f,
                               .y = want.y.data(),
                               .out = want.out.data(),
                               .scratch = want.scratch.data(),
                               .store = Store::kPlain,
                               .rstd = &want.rstd};
    reference::add_rmsnorm_row(type(), row);
    return row;
  }

  template <class E>
  void matches_reference();
  template <class E>
  void adds_partials_first();
  template <class E>
  void is_close_to_double();
};

template <class E>
void RowsNorm::matches_reference() {
  for (std::int64_t n : lengths()) {
    for (Data data : {Data::kNormal, Data::kWide}) {
      auto m = random_row<E>(n, data), residual = random_row<E>(n, data),
           gamma = random_row<E>(n, data);
      if (n % 50 == 0) reference::store(type(), m.data(), n / 2, n % 100 == 0 ? INFINITY : NAN);
      Wanted<E> want;
      float rstd = 0;
      AddRmsNormRow row = reference_row(m, residual, gamma, want);
      Canaried<E> scratch((n + 31) / 32 * 32, 0);
      row.m = memory_[0].put(m);
      row.gamma = memory_[2].put(gamma);
      row.scratch = scratch.data();
      const void* ahead[] = {row.m, nullptr, row.gamma};
      for (int y_offset : {0, 8}) {
        for (bool in_place : {false, true}) {
          Canaried<E> y_got(n, y_offset);
          row.rstd = in_place ? nullptr : &rstd;
          row.ahead = ahead;
          row.ahead_count = in_place ? 3 : 0;
          expect_row(want.out, [&](E* dst, Store store) {
            std::memcpy(y_got.data(), residual.data(), n * sizeof(E));
            row.residual = in_place ? y_got.data() : memory_[1].put(residual);
            row.y = y_got.data();
            row.out = dst;
            row.store = store;
            kernel().add_rmsnorm_row(row);
            stream_fence();
            ASSERT_EQ(difference(want.y.data(), y_got.data(), n), "") << "y, in place " << in_place;
            ASSERT_TRUE(rstd == want.rstd || (std::isnan(rstd) && std::isnan(want.rstd)))
                << rstd << " instead of " << want.rstd << ", n " << n;
          });
          ASSERT_TRUE(y_got.guards_intact() && scratch.guards_intact()) << "n " << n;
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(RowsNorm, MatchesReference) {
  if (type() == DType::kFloat32)
    matches_reference<float>();
  else
    matches_reference<U16>();
}

// The sum of partials in place of m: as if sum_rows had made m, and the copy is that m.
template <class E>
void RowsNorm::adds_partials_first() {
  for (std::int64_t n : lengths()) {
    const int count = 1 + static_cast<int>(n % 5);
    std::vector<std::vector<E>> rows(count);
    std::vector<const void*> src;
    for (auto& row : rows) {
      row = random_row<E>(n, n % 2 ? Data::kNormal : Data::kWide);
      src.push_back(src.empty() ? memory_[0].put(row) : row.data());
    }
    const auto residual = random_row<E>(n, Data::kNormal), gamma = random_row<E>(n, Data::kNormal);
    std::vector<E> m(n);
    reference::sum_rows(type(), {src.data(), count, n, m.data(), Store::kPlain});
    Wanted<E> want;
    AddRmsNormRow row = reference_row(m, residual, gamma, want);
    Canaried<E> scratch((n + 31) / 32 * 32, 0);
    row.m = nullptr;
    row.rstd = nullptr;
    row.residual = memory_[1].put(residual);
    row.scratch = scratch.data();
    for (int y_offset : {0, 8}) {
      expect_row(want.out, [&](E* dst, Store store) {
        Canaried<E> y_got(n, y_offset), copy(n, 0);
        row.y = y_got.data();
        row.out = dst;
        row.store = store;
        row.partials = {src.data(), count, y_offset ? nullptr : copy.data()};
        kernel().add_rmsnorm_row(row);
        stream_fence();
        ASSERT_EQ(difference(want.y.data(), y_got.data(), n), "") << "y";
        if (y_offset == 0) {
          ASSERT_EQ(difference(m.data(), copy.data(), n), "") << "the copy";
        }
        ASSERT_TRUE(y_got.guards_intact() && copy.guards_intact()) << "n " << n;
      });
      ASSERT_TRUE(scratch.guards_intact()) << "n " << n;
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowsNorm, AddsPartialsFirst) {
  if (type() == DType::kFloat32)
    adds_partials_first<float>();
  else
    adds_partials_first<U16>();
}

// From the y it produced, a row differs from unrounded arithmetic by: two roundings to T (h, out),
// one fp32 product, and rstd, whose mean square is a sum of positive terms with at most
// n/32 + 5 additions, a square and 1/n in each, and whose root halves the error; then one addition,
// one square root, one division.
template <class E>
void RowsNorm::is_close_to_double() {
  const double u = info(type()).unit_roundoff, u32 = 0x1p-24;
  for (std::int64_t n : {1, 5, 64, 1000, 8192, 65536}) {
    auto m = random_row<E>(n, Data::kNormal), residual = random_row<E>(n, Data::kNormal),
         gamma = random_row<E>(n, Data::kNormal);
    Canaried<E> scratch((n + 31) / 32 * 32, 0);
    std::vector<E> y(n), out(n);
    float rstd = 0;
    kernel().add_rmsnorm_row({.n = n,
                              .m = m.data(),
                              .residual = residual.data(),
                              .gamma = gamma.data(),
                              .epsilon = 1e-6f,
                              .y = y.data(),
                              .out = out.data(),
                              .scratch = scratch.data(),
                              .store = Store::kPlain,
                              .rstd = &rstd});
    std::vector<double> want(n);
    reference::rmsnorm_row_f64(type(), n, y.data(), gamma.data(), 1e-6f, want.data());
    const double rstd_error = 1.01 * (((n + 31) / 32 + 5 + 2 + 1) * u32 / 2 + 2 * u32);
    const double relative = (1 + u) * (1 + u) * (1 + u32) * (1 + rstd_error) - 1;
    double squares = 0;
    for (E element : y) squares += value(element) * value(element);
    const double exact_rstd = 1 / std::sqrt(squares / static_cast<double>(n) + double{1e-6f});
    ASSERT_LE(std::abs(rstd - exact_rstd), rstd_error * exact_rstd) << "n " << n;
    for (std::int64_t j = 0; j < n; ++j) {
      const double exact_y = value(m[j]) + value(residual[j]);
      ASSERT_LE(std::abs(value(y[j]) - exact_y), u * std::abs(exact_y) * (1 + u32) + half_step());
      const double bound =
          relative * std::abs(want[j]) + half_step() * (1 + 1.01 * std::abs(value(gamma[j])));
      ASSERT_LE(std::abs(value(out[j]) - want[j]), bound) << "element " << j << " of " << n;
      if (type() == DType::kFloat32) {
        const auto f = [&](const E& element) { return static_cast<float>(value(element)); };
        ASSERT_EQ(f(out[j]), f(y[j]) * rstd * f(gamma[j])) << "element " << j << " of " << n;
      }
    }
  }
}

TEST_P(RowsNorm, IsCloseToDouble) {
  if (type() == DType::kFloat32)
    is_close_to_double<float>();
  else
    is_close_to_double<U16>();
}

class RowsNorm16 : public RowsNorm {};

TEST_P(RowsNorm16, Example) {
  const auto m = row_of<U16>({1, 2, 3, 4}), residual = row_of<U16>({.5, .25, -1, .1}),
             gamma = row_of<U16>({1, .5, 2, 1.5});
  alignas(64) U16 scratch[32];
  std::vector<U16> y(4), out(4);
  float rstd = 0;
  kernel().add_rmsnorm_row({.n = 4,
                            .m = m.data(),
                            .residual = residual.data(),
                            .gamma = gamma.data(),
                            .epsilon = 1e-6f,
                            .y = y.data(),
                            .out = out.data(),
                            .scratch = scratch,
                            .store = Store::kPlain,
                            .rstd = &rstd});
  const bool half = type() == DType::kFloat16;
  EXPECT_EQ(y, row_of<U16>({1.5, 2.25, 2.0, half ? 4.1015625 : 4.09375}));
  EXPECT_EQ(out, half ? row_of<U16>({0.5654297, 0.4240723, 1.5078125, 2.3203125})
                      : row_of<U16>({0.56640625, 0.423828125, 1.5078125, 2.3125}));
  EXPECT_NEAR(rstd, 0.3770545, half ? 1e-7 : 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Kernels, RowsNorm,
                         testing::ValuesIn(lines_with(&Kernels::add_rmsnorm_row)), line_name);

INSTANTIATE_TEST_SUITE_P(Kernels, RowsNorm16, testing::ValuesIn(lines_with(&Kernels::sum_rows)),
                         line_name);

}  // namespace
}  // namespace weft::rows
