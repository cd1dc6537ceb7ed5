// SPDX-License-Identifier: Apache-2.0
#include "cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "ops/local_matmul/reference.h"

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
  made.bias = made.offset = true;
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
  made.offset = made.bias = made.transpose_x2 = true;
  const Operands operands = make(made, 1, 2);
  EXPECT_EQ(weft::to_string(operands[OperandId::kX1].tensor), "bfloat16 (6, 70)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kX2].tensor), "int8 (70, 32) strides (1, 70)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kAntiquantScale].tensor), "bfloat16 (3, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kAntiquantOffset].tensor), "bfloat16 (3, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kResidual].tensor), "bfloat16 (1, 6, 32)");
  EXPECT_EQ(weft::to_string(operands[OperandId::kBias].tensor), "bfloat16 (32)");
  EXPECT_EQ(operands.args().antiquant_group_size, 32);
  EXPECT_FALSE(operands[OperandId::kDequantScale].given());
}

/// Random data that only makes zeros or infinities would test nothing.
TEST(CasesTest, SumsOverTheRanksAreNearOneInEveryRow) {
  constexpr int kRanks = 2;
  for (const DTypeRow& row : dtype_rows()) {
    SCOPED_TRACE(row.name);
    Case made = make_case("8x512:512x64", "A1");
    made.row = &row;
    made.offset = true;
    double squares = 0;
    std::vector<double> sums(64);
    for (std::int64_t i = 0; i < 8; ++i) {
      std::fill(sums.begin(), sums.end(), 0);
      for (int rank = 0; rank < kRanks; ++rank) {
        const Operands operands = make(made, rank, kRanks);
        const MatmulAllReduceAddRmsNormArgs args = operands.args();
        const ops::PartialRow partial =
            ops::reference_partial_row({.x1 = args.x1,
                                        .x2 = args.x2,
                                        .dequant_scale = args.dequant_scale,
                                        .antiquant_scale = args.antiquant_scale,
                                        .antiquant_offset = args.antiquant_offset},
                                       row.io, i);
        for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += partial.value[j];
      }
      for (double sum : sums) squares += sum * sum;
    }
    const double rms = std::sqrt(squares / (8 * 64));
    EXPECT_GT(rms, 0.5);
    EXPECT_LT(rms, 2.0);
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

TEST(CasesTest, AnUnknownRowListsTheRows) {
  const Status status = find_dtype_row("B1").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message().find("there is no row 'B1'. The rows are:\n  A1  x1 float16, "), 0u);
  EXPECT_NE(status.message().find("\n  A9  x1 bfloat16, x2 int4, bias bfloat16, scale bfloat16"),
            std::string::npos);
}

}  // namespace
}  // namespace weft::tools
