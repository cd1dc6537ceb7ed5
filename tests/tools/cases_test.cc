// SPDX-License-Identifier: Apache-2.0
#include "operators/cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "operators/args.h"
#include "ops/local_matmul/reference.h"
#include "ops/reference_bounds.h"

namespace weft::tools {
namespace {

Case make_case(const char* shape, const char* row) {
  Case made;
  made.shape = *parse_shape(shape);
  made.row = *find_dtype_row(row);
  return made;
}

Operands make(const Case& made, int rank, int ranks) {
  Result<Operands> operands = RandomSource(made).make(rank, ranks);
  EXPECT_TRUE(operands.ok()) << operands.status().to_string();
  return std::move(operands).value();
}

std::vector<std::byte> bytes_of_operand(const Operands& operands, OperandId id) {
  const ConstTensorRef& tensor = operands[id].tensor;
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(bytes_of(tensor.dtype(), tensor.elements())));
  std::memcpy(bytes.data(), operands[id].memory.data(), bytes.size());
  return bytes;
}

TEST(CasesTest, PackedScalesKeepTenBitsOfMantissa) {
  EXPECT_EQ(pack_scale(1.0f), 0x40003F800000u);
  EXPECT_EQ(pack_scale(0.1f), 0x40003DCCC000u);
  EXPECT_EQ(pack_scale(-2.5f), 0x4000C0200000u);
}

TEST(CasesTest, OperandsDependOnSeedAndRankAlone) {
  Case made = make_case("2x3x64:64x32", "A6");
  made.with = {OperandId::kBias, OperandId::kAntiquantOffset};
  const Operands first = make(made, 1, 4);
  const Operands again = make(made, 1, 4);
  const Operands other_rank = make(made, 2, 4);
  made.seed = 2;
  const Operands other_seed = make(made, 1, 4);
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    SCOPED_TRACE(to_string(id));
    if (!first[id].given()) continue;
    EXPECT_EQ(bytes_of_operand(first, id), bytes_of_operand(again, id));
    EXPECT_NE(bytes_of_operand(first, id), bytes_of_operand(other_rank, id));
    EXPECT_NE(bytes_of_operand(first, id), bytes_of_operand(other_seed, id));
  }
  made.equal_tail = true;
  const Operands a = make(made, 0, 4), b = make(made, 3, 4);
  for (OperandId id : {OperandId::kResidual, OperandId::kGamma})
    EXPECT_EQ(bytes_of_operand(a, id), bytes_of_operand(b, id));
  EXPECT_NE(bytes_of_operand(a, OperandId::kX1), bytes_of_operand(b, OperandId::kX1));
}

TEST(CasesTest, ShapesAreThoseOfTheContract) {
  Case made = make_case("6x100,70:100,70x32", "A7");
  made.scale = ScaleShape::kGroup;
  made.with = {OperandId::kBias, OperandId::kAntiquantOffset};
  made.transpose_x2 = true;
  const Operands operands = make(made, 1, 2);
  EXPECT_EQ(weft::to_string(operands[OperandId::kX1].tensor), "bfloat16 (6, 70)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kX2].tensor), "int8 (70, 32) strides (1, 70)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kAntiquantScale].tensor), "bfloat16 (3, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kAntiquantOffset].tensor), "bfloat16 (3, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kResidual].tensor), "bfloat16 (1, 6, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kBias].tensor), "bfloat16 (32)");
  EXPECT_EQ(operands.args<MatmulAllReduceAddRmsNormArgs>().antiquant_group_size, 32);
  EXPECT_FALSE(operands[OperandId::kDequantScale].given());
}

TEST(CasesTest, ScalesPerRowAndPerColumn) {
  Case made = make_case("6x64:64x32", "R4");
  made.scale = ScaleShape::kColumn2d;
  Operands operands = make(made, 0, 2);
  EXPECT_EQ(weft::to_string(operands[OperandId::kX1Scale].tensor), "float32 (6, 1)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kX2Scale].tensor), "float32 (1, 32)");
  EXPECT_FALSE(operands[OperandId::kDequantScale].given());
  made = make_case("2x3x64:64x32", "Q5");
  operands = make(made, 0, 2);
  EXPECT_EQ(weft::to_string(operands[OperandId::kPertokenScale].tensor), "float32 (6)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kDequantScale].tensor), "bfloat16 (32)");
  EXPECT_FALSE(operands[OperandId::kX3].given());
}

/// The emulation of int8 communication tests nothing where all values saturate, and too little
/// where none does.
TEST(CasesTest, SomeValuesSaturateInInt8Communication) {
  Case made = make_case("8x512:512x64", "Q4");
  made.with = {OperandId::kCommQuantScale1, OperandId::kCommQuantScale2};
  constexpr int kRanks = 2;
  std::vector<double> sums(8 * 64);
  int saturated = 0, saturated_sums = 0;
  Operands operands;
  for (int rank = 0; rank < kRanks; ++rank) {
    operands = make(made, rank, kRanks);
    EXPECT_EQ(bytes_of_operand(operands, OperandId::kCommQuantScale1),
              bytes_of_operand(make(made, 0, kRanks), OperandId::kCommQuantScale1));
    const MatmulAllReduceArgs args = operands.args<MatmulAllReduceArgs>();
    for (std::int64_t i = 0; i < 8; ++i) {
      ops::MatmulOperands product;
      product.x1 = args.x1;
      product.x2 = args.x2;
      product.dequant_scale = args.dequant_scale;
      product.pertoken_scale = args.pertoken_scale;
      const ops::PartialRow row = ops::reference_partial_row(product, made.row->io, i);
      for (std::int64_t j = 0; j < 64; ++j) {
        const double s1 = ops::element_value(args.comm_quant_scale_1, j);
        saturated += std::fabs(row.value[static_cast<std::size_t>(j)]) / s1 > 127;
        sums[static_cast<std::size_t>(i * 64 + j)] += row.value[static_cast<std::size_t>(j)];
      }
    }
  }
  const ConstTensorRef s2 = operands.tensor(OperandId::kCommQuantScale2);
  for (std::int64_t e = 0; e < 8 * 64; ++e)
    saturated_sums +=
        std::fabs(sums[static_cast<std::size_t>(e)]) / ops::element_value(s2, e % 64) > 127;
  EXPECT_GT(saturated, 10);
  EXPECT_LT(saturated, 8 * 64 / 2);
  EXPECT_GT(saturated_sums, 5);
  EXPECT_LT(saturated_sums, 8 * 64 / 2);
}

/// Random data that only makes zeros or infinities would test nothing.
TEST(CasesTest, SumsOverTheRanksAreNearOneInEveryRow) {
  constexpr int kRanks = 2;
  for (const Operator* op : operators()) {
    for (const DTypeRow& row : op->traits().rows) {
      if (!op->traits().matmul) continue;
      SCOPED_TRACE(row.name);
      Case made = make_case("8x512:512x64", "A1");
      made.row = &row;
      made.with = {OperandId::kAntiquantOffset, OperandId::kX1Scale};
      double squares = 0;
      std::vector<double> sums(64);
      for (std::int64_t i = 0; i < 8; ++i) {
        std::fill(sums.begin(), sums.end(), 0);
        for (int rank = 0; rank < kRanks; ++rank) {
          const Operands operands = make(made, rank, kRanks);
          const auto either = [&](OperandId a, OperandId b) {
            return operands[a].given() ? operands.tensor(a) : operands.tensor(b);
          };
          ops::MatmulOperands product;
          product.x1 = operands.tensor(OperandId::kX1);
          product.x2 = operands.tensor(OperandId::kX2);
          product.dequant_scale = either(OperandId::kDequantScale, OperandId::kX2Scale);
          product.pertoken_scale = either(OperandId::kPertokenScale, OperandId::kX1Scale);
          product.antiquant_scale = operands.tensor(OperandId::kAntiquantScale);
          product.antiquant_offset = operands.tensor(OperandId::kAntiquantOffset);
          const ops::PartialRow partial = ops::reference_partial_row(product, row.io, i);
          for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += partial.value[j];
        }
        for (double sum : sums) squares += sum * sum;
      }
      const double rms = std::sqrt(squares / (8 * 64));
      EXPECT_GT(rms, 0.5);
      EXPECT_LT(rms, 2.0);
    }
  }
}

TEST(CasesTest, LargeFillsHaveTheRangeOfSmallOnes) {
  Random random(3, 0, 0);
  std::vector<std::uint16_t> values(200001);
  fill_floats(random, DType::kFloat16, -2, 2, 200001, values.data());
  double sum = 0, squares = 0;
  for (std::uint16_t value : values) {
    const double v = fp16_to_f32(value);
    EXPECT_LE(std::fabs(v), 2);
    sum += v, squares += v * v;
  }
  EXPECT_NEAR(sum / 200001, 0, 0.05);
  EXPECT_NEAR(squares / 200001, 4.0 / 3, 0.05);
}

}  // namespace
}  // namespace weft::tools
