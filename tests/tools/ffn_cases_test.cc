// SPDX-License-Identifier: Apache-2.0
// Random operands of ffn, and the calls that weft check makes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "operators/args.h"
#include "operators/ffn.h"
#include "ops/reference_bounds.h"

namespace weft::tools {
namespace {

using Counts = std::vector<std::int64_t>;

Case make_case(const char* row, const char* shape, Activation activation = Activation::kRelu) {
  Case made;
  made.row = *find_dtype_row(row);
  made.shape = *parse_ffn_shape(shape);
  made.ffn.attributes.activation = activation;
  return made;
}

Operands make(const Case& made) {
  Result<Operands> operands = RandomSource(made).make(0, 1);
  EXPECT_TRUE(operands.ok()) << operands.status().to_string();
  return std::move(operands).value();
}

std::string text(const Operands& operands, OperandId id) {
  return weft::to_string(operands.tensor(id));
}

TEST(FfnCasesTest, RowsAreDealtOut) {
  EXPECT_EQ(deal_rows(Deal::kEven, 8, 3), (Counts{3, 3, 2}));
  EXPECT_EQ(deal_rows(Deal::kEven, 1, 3), (Counts{1, 0, 0}));
  EXPECT_EQ(deal_rows(Deal::kSkewed, 12, 4), (Counts{6, 3, 2, 1}));
  EXPECT_EQ(deal_rows(Deal::kSkewed, 100, 2), (Counts{50, 50}));
  EXPECT_EQ(deal_rows(Deal::kSkewed, 2, 4), (Counts{1, 1, 0, 0}));
  EXPECT_EQ(deal_rows(Deal::kGaps, 12, 4), (Counts{5, 0, 4, 0}));
  EXPECT_EQ(deal_rows(Deal::kGaps, 1, 3), (Counts{0, 0, 0}));
}

TEST(FfnCasesTest, ShapesAreThoseOfTheContract) {
  Case made = make_case("P16", "2x3x64:96x32", Activation::kGeglu);
  made.scale = ScaleShape::kGroup;
  made.ffn.experts = 4;
  made.ffn.transposed = {OperandId::kWeight1};
  made.with = {OperandId::kBias1, OperandId::kAntiquantOffset2};
  Operands operands = make(made);
  EXPECT_EQ(text(operands, OperandId::kX), "float16 (2, 3, 64)");
  EXPECT_EQ(text(operands, OperandId::kWeight1), "int8 (4, 64, 192) strides (12288, 1, 64)");
  EXPECT_EQ(text(operands, OperandId::kWeight2), "int8 (4, 96, 32)");
  EXPECT_EQ(text(operands, OperandId::kExpertTokens), "int64 (4)");
  EXPECT_EQ(text(operands, OperandId::kBias1), "float16 (4, 192)");
  EXPECT_EQ(text(operands, OperandId::kBias2), "none");
  EXPECT_EQ(text(operands, OperandId::kAntiquantScale1), "float16 (4, 2, 192)");
  EXPECT_EQ(text(operands, OperandId::kAntiquantOffset2), "float16 (4, 3, 32)");
  EXPECT_EQ(text(operands, OperandId::kScale), "none");
  EXPECT_EQ(operands.args<FfnArgs>().activation, Activation::kGeglu);

  made = make_case("QB", "6x64:96");
  made.ffn.experts = 2;
  operands = make(made);
  EXPECT_EQ(text(operands, OperandId::kScale), "float32 (2, 96)");
  EXPECT_EQ(text(operands, OperandId::kOffset), "float32 (2)");
  EXPECT_EQ(text(operands, OperandId::kDeqScale2), "bfloat16 (2, 64)");
  made.ffn.experts = 0;
  made.scale = ScaleShape::kTensor;
  EXPECT_EQ(text(make(made), OperandId::kScale), "float32 (1)");
}

TEST(FfnCasesTest, TokensMayBeEnds) {
  Case made = make_case("UB", "8x16:16");
  made.ffn.experts = 3;
  made.ffn.deal = Deal::kGaps;
  const auto tokens = [&] {
    const Operands operands = make(made);
    const auto* values =
        static_cast<const std::int64_t*>(operands.tensor(OperandId::kExpertTokens).data());
    return Counts(values, values + 3);
  };
  EXPECT_EQ(tokens(), (Counts{3, 0, 3}));
  made.ffn.attributes.tokens_are_ends = true;
  EXPECT_EQ(tokens(), (Counts{3, 3, 6}));
  const Operands operands = make(made);
  const Extents extents = made.op().extents(operands, 1);
  EXPECT_EQ(extents.rows, 8);
  EXPECT_EQ(extents.flops, 2.0 * 6 * 2 * 16 * 16);
  EXPECT_EQ(extents.flops, made.op().flops(made, 1));
}

/// Element (i, j) of the first product before its activation, of the first expert.
double first_product(const FfnArgs& a, std::int64_t i, std::int64_t j) {
  const auto value = [](const ConstTensorRef& t, std::int64_t index) {
    return ops::element_value(t, index);
  };
  const bool quant = a.deq_scale1.given(), restored = a.antiquant_scale1.given();
  double sum = a.bias1.given() ? value(a.bias1, j) : 0;
  for (std::int64_t p = 0; p < a.x.dim(1); ++p) {
    const double weight = value(a.weight1, ops::matrix_index(a.weight1, p, j));
    sum += value(a.x, i * a.x.dim(1) + p) *
           (restored ? (weight + value(a.antiquant_offset1, j)) * value(a.antiquant_scale1, j)
                     : weight);
  }
  return quant ? sum * value(a.deq_scale1, j) : sum;
}

/// Activations of tiny values are lines, and of huge ones relu.
TEST(FfnCasesTest, TheFirstProductIsWhereActivationsBend) {
  for (const DTypeRow& row : ffn_operator().traits().rows) {
    SCOPED_TRACE(row.name);
    Case made = make_case("U16", "8x256:64");
    made.row = &row;
    for (OperandId id : made.op().row_choices(row)) made.with.add(id);
    const Operands operands = make(made);
    const FfnArgs args = operands.args<FfnArgs>();
    double squares = 0;
    for (std::int64_t i = 0; i < 8; ++i)
      for (std::int64_t j = 0; j < 64; ++j) squares += std::pow(first_product(args, i, j), 2);
    const double variance = squares / (8 * 64);
    EXPECT_GT(variance, 1);
    EXPECT_LT(variance, 5);
  }
}

/// Quantising tests nothing where few values of int8 come up, and too little where none saturates.
TEST(FfnCasesTest, QuantisedActivationsTakeAllOfInt8) {
  for (Activation activation : {Activation::kRelu, Activation::kReglu}) {
    SCOPED_TRACE(weft::to_string(activation));
    const Operands operands = make(make_case("Q16-u64", "16x256:64", activation));
    const FfnArgs args = operands.args<FfnArgs>();
    std::set<int> values;
    int low = 0, high = 0;
    for (std::int64_t i = 0; i < 16; ++i) {
      for (std::int64_t j = 0; j < 64; ++j) {
        const double h = first_product(args, i, j);
        const double a = activation == Activation::kRelu
                             ? std::max(h, 0.0)
                             : h * std::max(first_product(args, i, 64 + j), 0.0);
        const double q = a * ops::element_value(args.scale, j) + ops::element_value(args.offset, 0);
        low += q < -128;
        high += q > 127;
        values.insert(static_cast<int>(std::clamp(std::nearbyint(q), -128.0, 127.0)));
      }
    }
    EXPECT_LT(*values.begin(), -90);
    EXPECT_EQ(*values.rbegin(), 127);
    EXPECT_GT(values.size(), 120u);
    EXPECT_GT(high, 3);
    EXPECT_LT(low + high, 16 * 64 / 4);
  }
}

TEST(FfnCasesTest, VariantsCoverActivationsExpertsAndForms) {
  for (const DTypeRow& row : ffn_operator().traits().rows) {
    SCOPED_TRACE(row.name);
    std::set<std::pair<Activation, bool>> calls;
    std::set<Deal> deals;
    std::set<ScaleShape> scales;
    std::set<bool> ends, left, first, second;
    for (const char* shape : {"5x64:96x32", "12x64:32"}) {
      for (const Variant& v : ffn_operator().variants(*parse_ffn_shape(shape), row, 1, 1)) {
        const FfnCase& ffn = v.made.ffn;
        calls.insert({ffn.attributes.activation, ffn.experts > 0});
        EXPECT_EQ(ffn.attributes.inner_precise == InnerPrecise::kHighPerformance, row.fast);
        scales.insert(v.made.scale);
        first.insert(ffn.transposed.has(OperandId::kWeight1));
        second.insert(ffn.transposed.has(OperandId::kWeight2));
        if (has_gate(ffn.attributes.activation)) left.insert(ffn.attributes.gate_is_left);
        if (ffn.experts == 0) continue;
        deals.insert(ffn.deal);
        ends.insert(ffn.attributes.tokens_are_ends);
      }
    }
    EXPECT_EQ(calls.size(), row.gate ? 6u : 14u);
    EXPECT_EQ(deals.size(), 3u);
    EXPECT_EQ(scales.size(), row.scenario() == ops::Scenario::kWeightQuant ? 3u : 2u);
    for (const auto& both : {ends, left, first, second}) EXPECT_EQ(both.size(), 2u);
  }
}

TEST(FfnCasesTest, ACaseSaysWhatItIs) {
  Case made = make_case("Q16-u64", "4x64:96x32", Activation::kSwiglu);
  made.ffn.attributes.gate_is_left = true;
  made.ffn.experts = 3;
  made.ffn.deal = Deal::kSkewed;
  made.ffn.transposed = {OperandId::kWeight2};
  made.with = {OperandId::kBias2};
  EXPECT_EQ(made.text(1),
            "Q16-u64 4x64:96x32 ranks 1, swiglu, gate left, 3 experts skewed, weight2 transposed, "
            "scale per column, bias2, seed 1");
}

}  // namespace
}  // namespace weft::tools
