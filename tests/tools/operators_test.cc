// SPDX-License-Identifier: Apache-2.0
// What the table of operators says, and the calls that weft check makes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "operators/cases.h"
#include "operators/operator.h"
#include "operators/variants.h"

namespace weft::tools {
namespace {

TEST(OperatorsTest, RowsTellTheirOperator) {
  std::set<std::string_view> names;
  for (const Operator* op : operators()) {
    EXPECT_EQ(*find_operator(op->name()), op);
    for (const DTypeRow& row : op->traits().rows) {
      EXPECT_TRUE(names.insert(row.name).second) << row.name;
      EXPECT_EQ(&operator_of(row), op);
      EXPECT_EQ(*find_dtype_row(row.name), &row);
      for (OperandId id : op->traits().required) EXPECT_TRUE(op->dtype(row, id)) << to_string(id);
    }
  }
  EXPECT_EQ(names.size(), 9u + 11 + 5 + 3 + 13 + 3 * 2);
}

TEST(OperatorsTest, AnUnknownNameListsTheKnownOnes) {
  const Status row = matmul_allreduce_add_rmsnorm_operator().find_row("B1").status();
  EXPECT_EQ(row.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(row.message().find("there is no row 'B1'. The rows are:\n  A1  x1 float16, "), 0u);
  EXPECT_NE(row.message().find("\n  A9  x1 bfloat16, x2 int4, bias bfloat16, scale bfloat16"),
            std::string::npos);
  EXPECT_EQ(matmul_allreduce_operator().find_row("A1").status().message().find(
                "there is no row 'A1'. The rows are:\n  N1  x1 float16, "),
            0u);
  EXPECT_NE(find_dtype_row("B1").status().message().find("\n  Q4  x1 int8, x2 int8, bias int32, "
                                                         "scale float32, a scale per row"),
            std::string::npos);
  EXPECT_NE(
      find_dtype_row("B1").status().message().find(
          "\n  U16G  x float16, weights float16, biases float16, scale none, inner_precise 1, "
          "with a gate, the rest float16\n"),
      std::string::npos);
  EXPECT_EQ(find_operator("matmul").status().message(),
            "unknown operator 'matmul'.\nKnown operators: matmul_allreduce, "
            "matmul_allreduce_add_rmsnorm, matmul_reduce_scatter, add_rmsnorm, ffn, moe_dispatch, "
            "moe_combine, moe_combine_add_rmsnorm.");
}

TEST(OperatorsTest, ARowTakesItsOperands) {
  const Operator& op = matmul_allreduce_operator();
  const DTypeRow &quant = **op.find_row("Q4"), &weight = **op.find_row("W4");
  EXPECT_EQ(op.dtype(quant, OperandId::kDequantScale), DType::kFloat32);
  EXPECT_EQ(op.dtype(quant, OperandId::kPertokenScale), DType::kFloat32);
  EXPECT_EQ(op.dtype(quant, OperandId::kCommQuantScale2), DType::kFloat16);
  EXPECT_EQ(op.dtype(quant, OperandId::kAntiquantScale), std::nullopt);
  EXPECT_EQ(op.dtype(quant, OperandId::kResidual), std::nullopt);
  EXPECT_EQ(op.dtype(weight, OperandId::kAntiquantOffset), DType::kBFloat16);
  EXPECT_EQ(op.dtype(weight, OperandId::kCommQuantScale1), std::nullopt);
  EXPECT_EQ(op.row_choices(weight),
            (std::vector{OperandId::kBias, OperandId::kX3, OperandId::kAntiquantOffset}));
  const Operator& scatter = matmul_reduce_scatter_operator();
  EXPECT_EQ(scatter.row_choices(**scatter.find_row("R3")),
            (std::vector{OperandId::kBias, OperandId::kX1Scale}));
  EXPECT_EQ(scatter.row_choices(**scatter.find_row("R4")), std::vector{OperandId::kBias});
  EXPECT_EQ(scatter.operands_text(), "--x1 --x2 [--bias] [--x1-scale] [--x2-scale]");
}

std::vector<std::string> output_texts(const char* row, const char* shape, int ranks) {
  Case made;
  made.row = *find_dtype_row(row);
  made.shape = *made.op().parse_shape(shape);
  const Operands operands = RandomSource(made, false).make(0, ranks).value();
  std::vector<std::string> texts;
  for (const OutputSpec& spec : made.op().outputs(operands, ranks, OutputForm::kSeparate))
    texts.push_back(std::string(spec.name) + " " + weft::to_string(spec.like));
  return texts;
}

TEST(OperatorsTest, OutputsHaveTheShapesOfTheContracts) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(output_texts("Q3", "2x3x64:64x32", 2), Texts{"output bfloat16 (2, 3, 32)"});
  EXPECT_EQ(output_texts("R4", "6x64:64x32", 3), Texts{"output float16 (2, 32)"});
  EXPECT_EQ(output_texts("A1", "6x64:64x32", 3),
            (Texts{"y float16 (1, 6, 32)", "norm_out float16 (1, 6, 32)"}));
  EXPECT_EQ(
      output_texts("F32", "2x3x4x5:4x5", 1),
      (Texts{"y float32 (2, 3, 4, 5)", "rstd float32 (2, 3, 1, 1)", "x float32 (2, 3, 4, 5)"}));
  EXPECT_EQ(output_texts("QB", "2x3x64:96x32", 1), Texts{"y bfloat16 (2, 3, 32)"});
  EXPECT_EQ(output_texts("DB", "5,3x64", 2),
            (Texts{"expand_x bfloat16 (80, 64)", "dynamic_scales none",
                   "assist_info_for_combine int32 (240)", "expert_token_nums int64 (8)",
                   "ep_recv_counts int32 (16)"}));
  EXPECT_EQ(output_texts("C16", "5,3x64", 2), Texts{"x float16 (5, 64)"});
  EXPECT_EQ(output_texts("CNB", "5,3x64", 2),
            (Texts{"y bfloat16 (5, 1, 64)", "rstd float32 (5, 1, 1)", "x bfloat16 (5, 1, 64)"}));
}

/// Every operand that a row may have or lack is tried both ways, every form of x2 and of the
/// outputs is tried, and no two variants have the same random values.
TEST(OperatorsTest, VariantsCoverARow) {
  for (const Operator* op : operators()) {
    for (const DTypeRow& row : op->traits().rows) {
      SCOPED_TRACE(row.name);
      const bool ffn = op->has(OperandId::kWeight1);
      const char* shape = op->traits().matmul ? "12x64:64x32" : ffn ? "12x64:96x32" : "12x64";
      const std::vector<Variant> list = op->variants(*op->parse_shape(shape), row, 2, 7);
      std::set<std::uint64_t> seeds;
      bool plain = false, transposed = false, nz = false, nz_transposed = false, in_place = false,
           least = false;
      for (const Variant& v : list) {
        seeds.insert(v.made.seed);
        plain |= !v.nz_x2 && !v.made.transpose_x2;
        transposed |= !v.nz_x2 && v.made.transpose_x2;
        nz |= v.nz_x2 && !v.made.transpose_x2;
        nz_transposed |= v.nz_x2 && v.made.transpose_x2;
        in_place |= v.outputs == OutputForm::kInPlace;
        least |= v.outputs == OutputForm::kRequiredOnly;
      }
      EXPECT_EQ(seeds.size(), list.size());
      const bool matmul = op->traits().matmul;
      const bool images = op->traits().nz_weights && row.x2 != DType::kInt4;
      EXPECT_TRUE(plain);
      EXPECT_EQ(transposed, matmul);
      EXPECT_EQ(nz, images);
      EXPECT_EQ(nz_transposed, images);
      EXPECT_EQ(in_place, op->in_place_operand().has_value());
      EXPECT_EQ(least, std::ranges::any_of(op->traits().outputs, &OutputTraits::optional));
      for (OperandId id : op->row_choices(row)) {
        const auto with = static_cast<std::size_t>(
            std::ranges::count_if(list, [&](const Variant& v) { return v.made.with.has(id); }));
        EXPECT_GT(with, 0u) << to_string(id);
        EXPECT_LT(with, list.size()) << to_string(id);
      }
    }
  }
}

TEST(OperatorsTest, AVariantSaysWhatItIs) {
  const DTypeRow& row = **find_dtype_row("Q4");
  const std::vector<Variant> list =
      matmul_allreduce_operator().variants(*parse_shape("2x64:64x32"), row, 2, 1);
  EXPECT_EQ(list[1].text(2), "Q4 2x64:64x32 ranks 2, scale per tensor, x3, seed 2, in place");
  EXPECT_EQ(list[5].text(2),
            "Q4 2x64:64x32 ranks 2, scale per column (1, n), bias, x3, x2 transposed, seed 6, x2 "
            "FRACTAL_NZ");
}

}  // namespace
}  // namespace weft::tools
