// SPDX-License-Identifier: Apache-2.0
// Random calls, most of them wrong: refused with a message, or right to the last bit, and never a
// byte written beside the outputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "add_rmsnorm_case.h"
#include "ops/add_rmsnorm/contract.h"

namespace weft::testing {
namespace {

class Fuzz {
 public:
  explicit Fuzz(unsigned seed) : rng_(seed) {}

  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(rng_()) % n; }
  bool one_in(int n) { return below(n) == 0; }

  DType type() {
    constexpr DType kTypes[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat32};
    return one_in(20) ? static_cast<DType>(below(9)) : kTypes[below(3)];
  }
  Dims dims() {
    Dims dims(static_cast<std::size_t>(1 + below(5)));
    for (auto& extent : dims) extent = one_in(15) ? 0 : 1 + below(6);
    return dims;
  }
  // Dense, padded, in another order, backwards, repeated, or anything.
  Dims strides(const Dims& dims) {
    std::vector<std::size_t> order(dims.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const std::int64_t kind = below(6);
    if (kind == 1) std::shuffle(order.begin(), order.end(), rng_);
    if (kind == 2 && order.size() > 2) std::swap(order[0], order[1]);
    Dims strides(dims.size());
    std::int64_t stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      strides[order[i]] = stride;
      stride = stride * std::max<std::int64_t>(dims[order[i]], 1) +
               (kind == 3 && i + 1 < order.size() ? below(3) : 0);
    }
    if (kind >= 4) strides[static_cast<std::size_t>(below(std::ssize(dims)))] = below(90) - 40;
    if (kind == 5) strides[0] = -strides[0];
    return strides;
  }
  unsigned seed() { return static_cast<unsigned>(rng_()); }

 private:
  std::mt19937 rng_;
};

TEST(AddRmsNormFuzz, RefusedOrRight) {
  const auto seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fuzz fuzz(seed);
  Context context = Context::create({.threads = 2}).value();
  constexpr DType kRuns[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat32};
  int right = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    AddRmsNormCase c;
    c.type = kRuns[fuzz.below(3)];
    c.dims = fuzz.dims();
    c.gamma_axes = 1 + static_cast<int>(fuzz.below(std::ssize(c.dims)));
    const Dims gamma(c.dims.end() - c.gamma_axes, c.dims.end());
    Dims rstd = c.dims;
    std::fill(rstd.end() - c.gamma_axes, rstd.end(), 1);
    if (fuzz.one_in(2)) c.x1 = fuzz.strides(c.dims);
    if (fuzz.one_in(2)) c.x2 = fuzz.strides(c.dims);
    if (fuzz.one_in(3)) c.y = fuzz.strides(c.dims);
    if (fuzz.one_in(3)) c.x = fuzz.strides(c.dims);
    if (fuzz.one_in(3)) c.rstd_strides = fuzz.strides(rstd);
    if (fuzz.one_in(2)) c.gamma = fuzz.strides(gamma);
    c.in_place = static_cast<InPlace>(fuzz.below(3));
    c.rstd = !fuzz.one_in(4);
    c.numbers = fuzz.one_in(2) ? Numbers::kWide : Numbers::kNormal;
    c.seed = fuzz.seed();
    SCOPED_TRACE(c.text());
    AddRmsNormData data(c);
    const Status status = add_rmsnorm(context, data.args());
    if (!status.ok()) {
      ++refused;
      ASSERT_EQ(status.code(), StatusCode::kInvalidArgument) << status.to_string();
      ASSERT_TRUE(data.outputs_untouched());
      continue;
    }
    ++right;
    expect_correct(c, data);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(right, 400);
  EXPECT_GT(refused, 400);
}

// Shapes without memory behind them: the contract alone decides, whatever the numbers.
TEST(AddRmsNormFuzz, ContractTakesAnything) {
  const auto seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fuzz fuzz(seed);
  const auto any = [&] {
    constexpr std::int64_t kOdd[] = {INT64_MIN, INT64_MAX, -1, 0, 1, 2, 3, 1LL << 31, 1LL << 62};
    if (fuzz.one_in(6)) return TensorRef();
    Dims dims(static_cast<std::size_t>(fuzz.below(kMaxDims + 1)));
    Dims strides(dims.size());
    for (auto& stride : strides) stride = kOdd[fuzz.below(9)];
    for (auto& extent : dims) extent = fuzz.below(4) - (fuzz.one_in(20) ? 2 : 0);
    // One axis alone: the dense strides that the constructor begins with are a product.
    if (dims.size() == 1 && fuzz.one_in(3)) dims[0] = kOdd[fuzz.below(9)];
    return TensorRef(nullptr, fuzz.type(), dims, strides);
  };
  for (int i = 0; i < 20000; ++i) {
    AddRmsNormArgs a;
    const TensorRef x1 = any();
    a.x1 = x1;
    a.x2 = fuzz.one_in(4) ? any() : x1;
    a.y = fuzz.one_in(4) ? any() : x1;
    a.x = fuzz.one_in(4) ? any() : x1;
    a.gamma = fuzz.one_in(4) || x1.rank() == 0
                  ? any()
                  : TensorRef(nullptr, x1.dtype(), x1.dims().last(1), x1.strides().last(1));
    if (fuzz.one_in(2)) a.rstd = any();
    const Status status = ops::check_plan(a);
    if (status.ok()) continue;
    ASSERT_EQ(status.code(), StatusCode::kInvalidArgument);
    ASSERT_EQ(status.message().rfind("add_rmsnorm: ", 0), 0u) << status.message();
  }
}

}  // namespace
}  // namespace weft::testing
