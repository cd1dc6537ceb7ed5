// SPDX-License-Identifier: Apache-2.0
// What add_rmsnorm computes: against the reference, and always the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "add_rmsnorm_case.h"
#include "base/float16.h"
#include "base/isa.h"
#include "counted_memory.h"
#include "used_context.h"

namespace weft::testing {
namespace {

using ::testing::ElementsAre;

constexpr DType kTypes[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat32};

Context& context_of(int threads) {
  static std::map<int, Context> contexts;
  const auto known = contexts.find(threads);
  if (known != contexts.end()) return known->second;
  return contexts.emplace(threads, used_context({.threads = threads})).first->second;
}

void run_and_expect_correct(const AddRmsNormCase& c, int threads) {
  AddRmsNormData data(c);
  const Status status = add_rmsnorm(context_of(threads), data.args());
  ASSERT_TRUE(status.ok()) << status.to_string() << "\n" << c.text();
  expect_correct(c, data);
}

class AddRmsNormTest : public ::testing::TestWithParam<DType> {
 protected:
  // --gtest_shuffle with --gtest_random_seed gives other data.
  unsigned seed_ = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
};

TEST_P(AddRmsNormTest, OddSizes) {
  for (std::int64_t n : {1, 2, 3, 31, 32, 33, 63, 64, 100, 257})
    for (std::int64_t rows : {1, 2, 5, 17})
      for (Numbers numbers : {Numbers::kNormal, Numbers::kWide})
        run_and_expect_correct(
            {.type = GetParam(), .dims = {rows, n}, .numbers = numbers, .seed = ++seed_}, 1);
}

TEST_P(AddRmsNormTest, AnyNumberOfAxes) {
  for (const Dims& dims : {Dims{40}, Dims{3, 40}, Dims{2, 3, 7}, Dims{2, 3, 5, 7},
                           Dims{1, 2, 1, 3, 1, 5, 1, 7}, Dims{2, 2, 2, 2, 2, 2, 2, 2}})
    for (int axes = 1; axes <= static_cast<int>(dims.size()); ++axes)
      for (bool rstd : {false, true})
        run_and_expect_correct({.type = GetParam(),
                                .dims = dims,
                                .gamma_axes = axes,
                                .rstd = rstd,
                                .numbers = Numbers::kWide,
                                .seed = ++seed_},
                               2);
}

TEST_P(AddRmsNormTest, Strides) {
  // (b, s, h, d), h and d normalised. In turn: padded rows and batches, b and s swapped in memory,
  // rows backwards, one row for all; gamma swapped in memory, with gaps.
  AddRmsNormCase c = {.type = GetParam(), .dims = {3, 4, 5, 7}, .gamma_axes = 2, .seed = seed_};
  c.x1 = {200, 40, 7, 1};
  c.x2 = {35, 105, 7, 1};
  c.y = {4 * 36, 36, 7, 1};
  c.x = {36, 3 * 36, 7, 1};
  c.rstd_strides = {9, 2, 1, 1};
  c.gamma = {3, 20};
  run_and_expect_correct(c, 2);
  c.x1 = {-140, -35, 7, 1};
  c.x2 = {0, 0, 7, 1};
  c.y = {-37, 3 * 37, 7, 1};
  c.x = {140, -35, 7, 1};
  c.rstd_strides = {-1, -3, 50, 60};
  c.gamma = {-7, -1};
  run_and_expect_correct(c, 2);
}

TEST_P(AddRmsNormTest, InPlace) {
  for (InPlace in_place : {InPlace::kX1, InPlace::kX2})
    for (const Dims& strides : {Dims{}, Dims{50, 1}})
      run_and_expect_correct({.type = GetParam(),
                              .dims = {9, 45},
                              .x1 = strides,
                              .x2 = strides,
                              .in_place = in_place,
                              .seed = ++seed_},
                             2);
}

// The same memory for x1 and x2 is legal, and then for x too.
TEST_P(AddRmsNormTest, DoublesOneTensor) {
  AddRmsNormCase c = {.type = GetParam(), .dims = {4, 33}, .in_place = InPlace::kX1, .seed = seed_};
  AddRmsNormData data(c);
  AddRmsNormArgs args = data.args(), reference = data.reference_args();
  args.x2 = args.x1;
  EXPECT_TRUE(add_rmsnorm(context_of(1), args).ok());
  reference.x2 = reference.x1;
  AddRmsNormData apart(c);
  AddRmsNormArgs apart_args = apart.args();
  apart_args.x2 = reference.x1;
  EXPECT_TRUE(add_rmsnorm(context_of(1), apart_args).ok());
  EXPECT_EQ(data.bits(), apart.bits());
}

// Outputs on both sides of the size from which they go past the cache.
TEST_P(AddRmsNormTest, LargeRowsAndManyRows) {
  for (const Dims& dims : {Dims{3, 65537}, Dims{700, 1000}, Dims{2500, 256}})
    for (int threads : {1, 3})
      run_and_expect_correct({.type = GetParam(), .dims = dims, .seed = ++seed_}, threads);
}

// On every instruction set here, for any number of threads, whatever rows are beside it.
TEST_P(AddRmsNormTest, BitsDoNotDependOnHowTheCallIsRun) {
  const AddRmsNormCase c = {
      .type = GetParam(), .dims = {301, 777}, .numbers = Numbers::kWide, .seed = seed_};
  SCOPED_TRACE(c.text());
  AddRmsNormData data(c);
  ASSERT_TRUE(add_rmsnorm(context_of(1), data.args()).ok());
  const auto want = data.bits();
  for (int threads : {2, 3}) {
    data.reset();
    ASSERT_TRUE(add_rmsnorm(context_of(threads), data.args()).ok());
    EXPECT_EQ(data.bits(), want) << threads << " threads";
  }
  for (const isa::Row& row : isa::rows()) {
    if (!row.available) continue;
    Context context = Context::create({.threads = 2, .isa = std::string(row.name)}).value();
    data.reset();
    ASSERT_TRUE(add_rmsnorm(context, data.args()).ok());
    EXPECT_EQ(data.bits(), want) << row.name;
  }
  data.reset();
  const AddRmsNormArgs all = data.args();
  const std::int64_t row_bytes = bytes_of(c.type, 777);
  for (std::int64_t i = 0; i < 301; ++i) {
    const auto row = [&](const auto& tensor, std::int64_t bytes) {
      auto* base = static_cast<char*>(const_cast<void*>(static_cast<const void*>(tensor.data())));
      return TensorRef(base + i * bytes, tensor.dtype(), {1, tensor.dim(1)});
    };
    AddRmsNormArgs one = all;
    one.x1 = row(all.x1, row_bytes), one.x2 = row(all.x2, row_bytes);
    one.y = row(all.y, row_bytes), one.x = row(all.x, row_bytes), one.rstd = row(all.rstd, 4);
    ASSERT_TRUE(add_rmsnorm(context_of(1), one).ok());
  }
  EXPECT_EQ(data.bits(), want) << "rows one by one";
}

TEST_P(AddRmsNormTest, NoRowsNoWork) {
  for (const Dims& dims : {Dims{0, 8}, Dims{3, 0, 8}}) {
    const AddRmsNormCase c = {.type = GetParam(), .dims = dims};
    AddRmsNormData data(c);
    AddRmsNormArgs args = data.args();
    Result<AddRmsNorm> plan = AddRmsNorm::plan(context_of(2), args);
    ASSERT_TRUE(plan.ok()) << plan.status().to_string();
    EXPECT_EQ(plan->describe(), "nothing to compute: there are no rows\n");
    args.x1 = args.x1.with_data(nullptr);
    args.y = args.y.with_data(nullptr);
    EXPECT_TRUE(plan->run(args).ok());
    EXPECT_TRUE(data.outputs_untouched());
  }
}

TEST_P(AddRmsNormTest, APlanRunsAgainWithOtherPointers) {
  AddRmsNormCase c = {.type = GetParam(), .dims = {6, 50}, .gamma = {3}};
  AddRmsNormData first(c);
  c.seed = 2;
  AddRmsNormData second(c);
  Result<AddRmsNorm> plan = AddRmsNorm::plan(context_of(2), first.args());
  ASSERT_TRUE(plan.ok());
  for (AddRmsNormData* data : {&first, &second}) {
    const MemoryRequests before = memory_requests();
    const AddRmsNormArgs args = data->args();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(plan->run(args).ok());
    const MemoryRequests after = memory_requests();
    if (counts_memory()) {
      EXPECT_EQ(after.heap - before.heap, 0);
      EXPECT_EQ(after.maps - before.maps, 0);
    }
    expect_correct(c, *data);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AddRmsNormTest, ::testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST(AddRmsNormGolden, Float16) {
  const auto halves = [](const std::vector<double>& values) {
    std::vector<std::uint16_t> bits;
    for (double value : values) bits.push_back(f64_to_fp16(value));
    return bits;
  };
  const auto x1 = halves({1, 2, 3, 4}), x2 = halves({.5, .25, -1, .1}),
             gamma = halves({1, .5, 2, 1.5});
  std::vector<std::uint16_t> y(4), x(4);
  float rstd = 0;
  AddRmsNormArgs args;
  args.x1 = {x1.data(), DType::kFloat16, {1, 4}};
  args.x2 = {x2.data(), DType::kFloat16, {1, 4}};
  args.gamma = {gamma.data(), DType::kFloat16, {4}};
  args.y = {y.data(), DType::kFloat16, {1, 4}};
  args.rstd = {&rstd, DType::kFloat32, {1, 1}};
  args.x = {x.data(), DType::kFloat16, {1, 4}};
  const Status status = add_rmsnorm(context_of(1), args);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(x, halves({1.5, 2.25, 2.0, 4.1015625}));
  EXPECT_FLOAT_EQ(rstd, 0.3770545f);
  EXPECT_EQ(y, halves({0.5654297, 0.4240723, 1.5078125, 2.3203125}));
}

// Sums that overflow, and a mean that fp32 can't hold: what 1 / sqrt makes of infinity is 0.
TEST(AddRmsNormGolden, Float32Overflow) {
  const std::vector<float> x1 = {3e38f, 1, 2}, x2 = {3e38f, 1, 2}, large = {1e30f, 1e30f, 0},
                           gamma = {1, 1, 1};
  std::vector<float> y(3), x(3);
  float rstd = 1;
  AddRmsNormArgs args;
  args.x1 = {x1.data(), DType::kFloat32, {3}};
  args.x2 = {x2.data(), DType::kFloat32, {3}};
  args.gamma = {gamma.data(), DType::kFloat32, {3}};
  args.y = {y.data(), DType::kFloat32, {3}};
  args.rstd = {&rstd, DType::kFloat32, {1}};
  args.x = {x.data(), DType::kFloat32, {3}};
  ASSERT_TRUE(add_rmsnorm(context_of(1), args).ok());
  EXPECT_THAT(x, ElementsAre(INFINITY, 2, 4));
  EXPECT_EQ(rstd, 0);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 0);
  args.x1 = args.x1.with_data(large.data());
  ASSERT_TRUE(add_rmsnorm(context_of(1), args).ok());
  EXPECT_EQ(rstd, 0);
  EXPECT_THAT(y, ElementsAre(0, 0, 0));
}

TEST(AddRmsNormPlan, DescribesItself) {
  AddRmsNormArgs args;
  args.x1 = args.x2 = {nullptr, DType::kBFloat16, {4, 1024, 8192}};
  args.gamma = {nullptr, DType::kBFloat16, {8192}};
  args.y = args.x = {nullptr, DType::kBFloat16, {4, 1024, 8192}};
  Context context = Context::create({.threads = 2, .isa = "scalar"}).value();
  Result<AddRmsNorm> plan = AddRmsNorm::plan(context, args);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  EXPECT_EQ(plan->describe(),
            "shape     4096 rows of 8192, bfloat16\n"
            "rows      rows_bfloat16_scalar\n"
            "threads   2, 16 rows at a time\n"
            "stores    past the cache\n");
}

}  // namespace
}  // namespace weft::testing
