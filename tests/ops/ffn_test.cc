// SPDX-License-Identifier: Apache-2.0
// What ffn computes, against the reference: every row of dtypes with every activation, experts,
// awkward shapes and layouts.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/isa.h"
#include "ffn_case.h"

namespace weft::testing {
namespace {

using enum Activation;
constexpr Activation kActivations[] = {kFastGelu, kRelu, kSilu, kGelu, kGeglu, kSwiglu, kReglu};

class FfnTest : public ::testing::TestWithParam<FfnRow> {
 protected:
  /// Two int4 lie in a byte: their extents become even.
  FfnCase make(std::int64_t m, std::int64_t k1, std::int64_t k2, std::int64_t n2) {
    const std::int64_t step = GetParam().weight == DType::kInt4 ? 2 : 1;
    const auto whole = [&](std::int64_t extent) { return (extent + step - 1) / step * step; };
    return {.row = GetParam(),
            .m = m,
            .k1 = whole(k1),
            .k2 = whole(k2),
            .n2 = whole(n2),
            .seed = ++seed_};
  }
  FfnCase make_experts(const Dims& tokens, std::int64_t k1, std::int64_t k2, std::int64_t n2) {
    FfnCase c = make(std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0}), k1, k2, n2);
    c.tokens = tokens;
    return c;
  }
  InnerPrecise either(int i) const {
    return i % 2 && GetParam().weight != DType::kBFloat16 ? InnerPrecise::kHighPerformance
                                                          : InnerPrecise::kHighPrecision;
  }

  // --gtest_shuffle with --gtest_random_seed gives other data.
  unsigned seed_ = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
};

TEST_P(FfnTest, EveryActivation) {
  int i = 0;
  for (const Activation activation : kActivations)
    for (const bool left : {false, true})
      for (const int inner : {0, 1}) {
        if (left && !has_gate(activation)) continue;
        FfnCase c = make(++i % 2 ? 3 : 20, 40, 51, 37);
        c.activation = activation;
        c.gate_is_left = left;
        c.inner_precise = either(inner);
        c.scale_per_channel = i % 3 == 0;
        c.bias1 = i % 4 != 0, c.bias2 = i % 4 != 1;
        c.float_bias = i % 5 == 0;
        run_and_expect_correct(c, 1 + i % 3);
      }
}

TEST_P(FfnTest, OddShapes) {
  int i = 0;
  for (const std::int64_t m : {1, 2, 5, 16, 17, 33})
    for (const auto& [k1, k2, n2] :
         {std::array{1, 1, 1}, {1, 70, 3}, {65, 1, 33}, {31, 130, 1}, {64, 64, 64}, {7, 17, 260}}) {
      FfnCase c = make(m, k1, k2, n2);
      c.activation = ++i % 2 ? kSwiglu : kFastGelu;
      c.inner_precise = either(i / 2);
      c.scale_per_channel = i % 3 == 0;
      run_and_expect_correct(c, 1 + i % 3);
    }
}

// Several chunks of k and blocks of columns, in both products.
TEST_P(FfnTest, DeepAndWide) {
  int i = 0;
  for (const std::int64_t m : {3, 70})
    for (const auto& [k1, k2, n2] : {std::array{2300, 40, 30}, {30, 2300, 40}, {20, 700, 900}}) {
      FfnCase c = make(m, k1, k2, n2);
      c.activation = ++i % 2 ? kReglu : kGelu;
      c.inner_precise = either(i);
      run_and_expect_correct(c, 1 + i % 3, 3e5);
    }
}

TEST_P(FfnTest, Experts) {
  Dims few(64), most_empty(256);
  for (std::size_t e = 0; e < few.size(); ++e) few[e] = static_cast<std::int64_t>(e % 18);
  most_empty[0] = 3, most_empty[77] = 40, most_empty[78] = 1, most_empty[254] = 16;
  int i = 0;
  for (const Dims& tokens :
       {Dims{7}, {0, 3, 0, 20, 1}, {1, 1, 1, 1, 1}, {33, 0, 0, 16, 17}, few, most_empty})
    for (const bool gate : {false, true}) {
      FfnCase c = make_experts(tokens, 20, 35, 18);
      c.activation = gate ? kGeglu : kSilu;
      c.inner_precise = either(++i);
      c.scale_per_channel = i % 3 != 0;
      c.bias1 = i % 4 != 0;
      if (i % 5 == 1) c.m += 4;  // rows of no expert
      if (i % 2) {
        c.tokens_are_ends = true;
        std::partial_sum(tokens.begin(), tokens.end(), c.tokens->begin());
      }
      run_and_expect_correct(c, 1 + i % 3, 1e6);
    }
}

TEST_P(FfnTest, DeepExperts) {
  int i = 0;
  for (const WeightLayout layout : {WeightLayout::kRowMajor, WeightLayout::kTransposed})
    for (const auto& [k1, k2, n2] : {std::array{1300, 20, 30}, {30, 1300, 20}}) {
      FfnCase c = make_experts({1, 0, 70, 16, 5}, k1, k2, n2);
      c.activation = ++i % 2 ? kSwiglu : kGelu;
      c.weight1 = c.weight2 = layout;
      run_and_expect_correct(c, 1 + i % 3, 3e5);
    }
}

TEST_P(FfnTest, NoExpertHasRows) {
  FfnCase c = make_experts({0, 0, 0}, 8, 8, 8);
  c.m = 5;
  run_and_expect_correct(c);
  c = make_experts({}, 8, 8, 8);
  c.m = 5;
  run_and_expect_correct(c);
  c = make_experts({0, 0}, 8, 8, 8);  // nor are there any
  run_and_expect_correct(c);
}

// More rows than pass both products together, and an expert whose rows lie on both sides.
TEST_P(FfnTest, ManyRows) {
  run_and_expect_correct(make(4500, 8, 6, 10), 2, 2e5);
  FfnCase c = make_experts({1000, 0, 2100, 1, 1500}, 8, 6, 10);
  c.activation = kSwiglu;
  run_and_expect_correct(c, 3, 2e5);
}

TEST_P(FfnTest, Layouts) {
  constexpr RowLayout kRows[] = {RowLayout::kDense, RowLayout::kPadded, RowLayout::kSwapped,
                                 RowLayout::kBackwards};
  int i = 0;
  for (const WeightLayout weight1 : kWeightLayouts)
    for (const WeightLayout weight2 : kWeightLayouts)
      for (const bool experts : {false, true}) {
        const bool int4 = GetParam().weight == DType::kInt4;
        if (int4 && (weight1 == WeightLayout::kScattered || weight2 == WeightLayout::kScattered))
          continue;
        FfnCase c =
            experts ? make_experts({2, 0, 17, 5}, 40, 34, 50) : make(++i % 3 ? 24 : 4, 40, 34, 50);
        c.weight1 = weight1, c.weight2 = weight2;
        c.x = kRows[i % 4], c.y = kRows[i / 2 % 4];
        c.vectors_strided = i % 2;
        c.scale_per_channel = i % 3;
        c.activation = i % 5 < 2 ? kReglu : kGelu;
        c.inner_precise = either(i / 3);
        run_and_expect_correct(c, 1 + i % 2, 1e5);
      }
}

TEST_P(FfnTest, AnyNumberOfAxes) {
  for (const Dims& leading : {Dims{6}, {2, 3}, {2, 3, 4}, {1, 2, 1, 3, 1, 2, 2}})
    for (const RowLayout layout :
         {RowLayout::kPadded, RowLayout::kSwapped, RowLayout::kBackwards}) {
      FfnCase c = make(0, 10, 12, 14);
      c.leading = leading;
      c.x = c.y = layout;
      run_and_expect_correct(c, 2);
      c.m = std::accumulate(leading.begin(), leading.end(), std::int64_t{1}, std::multiplies<>());
      c.tokens = Dims{1, c.m - 2, 1};
      run_and_expect_correct(c, 2);
    }
}

TEST_P(FfnTest, Groups) {
  if (!GetParam().restored()) GTEST_SKIP() << "weights are not restored";
  int i = 0;
  for (const std::int64_t groups1 : {kOneScale, std::int64_t{1}, std::int64_t{4}, std::int64_t{96}})
    for (const std::int64_t groups2 : {kOneScale, kPerColumn, std::int64_t{2}, std::int64_t{9}})
      for (const bool experts : {false, true}) {
        FfnCase c =
            experts ? make_experts({3, 0, 20}, 96, 90, 34) : make(++i % 2 ? 5 : 20, 96, 90, 34);
        c.groups1 = groups1, c.groups2 = groups2;
        c.antiquant_offsets = i % 3 != 0;
        c.vectors_strided = i % 2;
        c.weight1 = i % 4 < 2 ? WeightLayout::kRowMajor : WeightLayout::kTransposed;
        c.weight2 = i % 3 ? WeightLayout::kTransposed : WeightLayout::kRowMajor;
        run_and_expect_correct(c, 1 + i % 2, 2e5);
      }
}

TEST_P(FfnTest, EveryInstructionSet) {
  for (const isa::Row& row : isa::rows()) {
    if (!row.available) continue;
    SCOPED_TRACE(row.name);
    for (const WeightLayout layout : {WeightLayout::kRowMajor, WeightLayout::kTransposed})
      for (const Activation activation : {kGelu, kSwiglu}) {
        FfnCase c = make_experts({2, 0, 1, 19, 16}, 70, 50, 40);
        c.weight1 = c.weight2 = layout;
        c.activation = activation;
        const FfnData data(c);
        const Status status = ffn(context_of(2, std::string(row.name)), data.args());
        ASSERT_TRUE(status.ok()) << status.to_string();
        expect_correct(data, 3e5);
      }
  }
}

// Without columns between the products, without columns or depth at all.
TEST_P(FfnTest, ExtentsOfZero) {
  int i = 0;
  for (const auto& [k1, k2, n2] : {std::array{8, 0, 8}, {0, 8, 8}, {8, 8, 0}, {0, 0, 8}})
    for (const bool experts : {false, true})
      for (const bool gate : {false, true})
        for (const bool bias : {false, true}) {
          FfnCase c =
              experts ? make_experts({1, 0, 20}, k1, k2, n2) : make(++i % 2 ? 3 : 20, k1, k2, n2);
          c.activation = gate ? kSwiglu : kSilu;
          c.bias1 = c.bias2 = bias;
          c.float_bias = i % 3;
          run_and_expect_correct(c, 1 + i % 2);
        }
}

INSTANTIATE_TEST_SUITE_P(Rows, FfnTest, ::testing::ValuesIn(kFfnRows),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft::testing
