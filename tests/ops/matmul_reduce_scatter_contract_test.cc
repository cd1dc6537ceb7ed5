// SPDX-License-Identifier: Apache-2.0
// One failing call per rule, with the text a user sees and CANN's code.
#include <gtest/gtest.h>

#include "broken_rule.h"
#include "ops/matmul_reduce_scatter/contract.h"

namespace weft::ops {
namespace {

using Args = MatmulReduceScatterArgs;
using Broken = BrokenRule<Args>;
constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DType kI8 = DType::kInt8, kI32 = DType::kInt32, kU64 = DType::kUInt64,
                kI64 = DType::kInt64;
constexpr int kRanks = 4;

TensorRef out(DType dtype, std::initializer_list<std::int64_t> dims) {
  return TensorRef(nullptr, dtype, dims);
}

// (8, 64) · (64, 10) on 4 ranks.
Args float_args() {
  Args a;
  a.x1 = {nullptr, kF16, {8, 64}};
  a.x2 = {nullptr, kF16, {64, 10}};
  a.bias = {nullptr, kF16, {10}};
  a.output = out(kF16, {2, 10});
  return a;
}
Args quant_args() {
  Args a = float_args();
  a.x1 = {nullptr, kI8, {8, 64}};
  a.x2 = {nullptr, kI8, {64, 10}};
  a.bias = {nullptr, kI32, {10}};
  a.x1_scale = {nullptr, kF32, {8, 1}};
  a.x2_scale = {nullptr, kF32, {1, 10}};
  return a;
}

Status check(const Args& a, int rank = 3) {
  bool empty = false;
  return check_plan(a, rank, kRanks, empty);
}

// In the order of the checks.
const std::vector<Broken>& broken_rules() {
  static const std::vector<Broken> rules = {
      {"no_x1", float_args, [](Args& a) { a.x1 = {}; }, "x1 is missing", kNull},
      {"no_x2", float_args, [](Args& a) { a.x2 = {}; }, "x2 is missing", kNull},
      {"no_output", float_args, [](Args& a) { a.output = {}; }, "output is missing", kNull},
      {"no_x2_scale", quant_args, [](Args& a) { a.x2_scale = {}; },
       "x2_scale is missing; int8 x1 and x2 need one", kNull},
      {"weight_quant", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kI8, {64, 10}};
       },
       "there is no row for x1 float16 with x2 int8; use float16 or bfloat16 for both, or int8 for "
       "both",
       kInvalid},
      {"output_is_not_x1", float_args,
       [](Args& a) {
         a.output = out(kBf16, {2, 10});
       },
       "x1 is float16 but the outputs are bfloat16; they must be the same", kInvalid},
      {"bias_dtype", float_args,
       [](Args& a) {
         a.bias = {nullptr, kBf16, {10}};
       },
       "bias is bfloat16 but must be float16 like x1", kInvalid},
      {"scale_without_int8", float_args,
       [](Args& a) {
         a.x1_scale = {nullptr, kF32, {8, 1}};
       },
       "x1_scale is given, but x1 is float16; leave it out", kInvalid},
      {"fp32_scale_alone", quant_args, [](Args& a) { a.x1_scale = {}; },
       "x2_scale is float32 but must be uint64 or int64 when the outputs are float16 and x1_scale "
       "is not given; pack fp32 scales with trans_quant_param",
       kInvalid},
      {"packed_scale_bf16_output", quant_args,
       [](Args& a) {
         a.x2_scale = {nullptr, kI64, {1, 10}};
         a.output = out(kBf16, {2, 10});
       },
       "x2_scale is int64 but must be float32 when the outputs are bfloat16 and x1_scale is given",
       kInvalid},
      {"x1_scale_dtype", quant_args,
       [](Args& a) {
         a.x1_scale = {nullptr, kF16, {8, 1}};
       },
       "x1_scale is float16 but must be float32", kInvalid},
      {"negative", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kF16, {64, -1}};
       },
       "x2 is (64, -1) but no extent can be negative", kInvalid},
      {"x1_rank", float_args,
       [](Args& a) {
         a.x1 = {nullptr, kF16, {2, 4, 64}};
       },
       "x1 is (2, 4, 64) but must be (m, k)", kInvalid},
      {"x1_transposed", float_args,
       [](Args& a) {
         a.x1 = ConstTensorRef(nullptr, kF16, {64, 8}).transposed();
       },
       "x1 is a transposed view, strides (1, 8), but must have its rows; make it contiguous",
       kInvalid},
      {"k_is_0", float_args,
       [](Args& a) {
         a.x1 = {nullptr, kF16, {8, 0}};
       },
       "k is 0 but there is no product without it; x1 is (8, 0)", kInvalid},
      {"x1_fractal_nz", float_args,
       [](Args& a) { a.x1 = ConstTensorRef::fractal_nz(nullptr, kF16, 8, 64); },
       "x1 is FRACTAL_NZ but only x2 can be; pass it with strides", kTiling},
      {"x2_rank", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kF16, {64}};
       },
       "x2 is (64) but must be (k, n)", kInvalid},
      {"k_differs", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kF16, {63, 10}};
       },
       "the last dimension of x1 is 64 but x2.dim(0) is 63; both are k", kInvalid},
      {"int8_too_deep", quant_args,
       [](Args& a) {
         a.x1 = {nullptr, kI8, {8, 65536}};
         a.x2 = {nullptr, kI8, {65536, 10}};
       },
       "k is 65536 but must be at most 65535 with int8 x1 and x2 (the sums are int32); use more "
       "ranks",
       kTiling},
      {"bias_shape", float_args,
       [](Args& a) {
         a.bias = {nullptr, kF16, {1, 10}};
       },
       "bias is (1, 10) but must be (n) = (10)", kInvalid},
      {"x2_scale_shape", quant_args,
       [](Args& a) {
         a.x2_scale = {nullptr, kF32, {10, 1}};
       },
       "x2_scale is (10, 1) but must be (1), (10) or (1, 10)", kInvalid},
      {"m_not_divisible", float_args,
       [](Args& a) {
         a.x1 = {nullptr, kF16, {9, 64}};
       },
       "m is 9 but must be a multiple of the 4 ranks; pad x1 with zero rows", kInvalid},
      {"output_rows", float_args,
       [](Args& a) {
         a.output = out(kF16, {8, 10});
       },
       "output is (8, 10) but must be (2, 10) like (m / ranks, n)", kInvalid},
      {"output_columns", float_args,
       [](Args& a) {
         a.output = out(kF16, {2, 11});
       },
       "output is (2, 11) but must be (2, 10) like (m / ranks, n)", kInvalid},
      {"output_rows_share_memory", float_args,
       [](Args& a) {
         const std::int64_t dims[] = {2, 10}, strides[] = {0, 1};
         a.output = {nullptr, kF16, dims, strides};
       },
       "output has strides (0, 1) that put several of its rows at the same place; make it "
       "contiguous",
       kInvalid},
      {"x1_scale_shape", quant_args,
       [](Args& a) {
         a.x1_scale = {nullptr, kF32, {2}};
       },
       "x1_scale is (2) but must be one value for each row of x1: (8) or (8, 1)", kInvalid},
  };
  return rules;
}

class ContractTest : public testing::TestWithParam<size_t> {};

TEST_P(ContractTest, NamesTheOperandBothValuesAndWhatToDo) {
  expect_refused(broken_rules()[GetParam()], kMatmulReduceScatter, CannEntry::kMatmulReduceScatter,
                 [](const Args& args) { return check(args); });
}

INSTANTIATE_TEST_SUITE_P(Rules, ContractTest, testing::Range(size_t{0}, broken_rules().size()),
                         [](const auto& test) {
                           return std::string(broken_rules()[test.param].name);
                         });

TEST(Contract, AcceptsWhatTheOperatorComputes) {
  Args a = quant_args();
  EXPECT_TRUE(check(a).ok()) << check(a).to_string();
  a.x2_scale = {nullptr, kU64, {1}};  // R3, with and without x1_scale
  EXPECT_TRUE(check(a).ok()) << check(a).to_string();
  a.x1_scale = {};
  EXPECT_TRUE(check(a).ok()) << check(a).to_string();
  a = quant_args();  // R5
  a.output = out(kBf16, {2, 10});
  a.x1_scale = {nullptr, kF32, {8}};
  EXPECT_TRUE(check(a).ok()) << check(a).to_string();
}

TEST(Contract, EmptyTensorsAreNoWork) {
  bool empty = false;
  Args a = float_args();
  a.x1 = {nullptr, kF16, {0, 64}};
  EXPECT_TRUE(check_plan(a, 0, kRanks, empty).ok());
  EXPECT_TRUE(empty);
  a = float_args();
  a.x2 = {nullptr, kF16, {64, 0}};
  EXPECT_TRUE(check_plan(a, 0, kRanks, empty).ok());
  EXPECT_TRUE(empty);
  EXPECT_TRUE(check_plan(float_args(), 0, kRanks, empty).ok());
  EXPECT_FALSE(empty);
}

TEST(Contract, RunRefusesOverlapAndMissingData) {
  static char memory[4][4096];
  Args a = float_args();
  a.x1 = a.x1.with_data(memory[0]);
  a.x2 = a.x2.with_data(memory[1]);
  a.bias = a.bias.with_data(memory[2]);
  a.output = a.output.with_data(memory[3]);
  EXPECT_TRUE(check_run(float_args(), a, 3).ok());
  a.output = a.output.with_data(memory[0] + 64);
  EXPECT_EQ(check_run(float_args(), a, 3).message(),
            "matmul_reduce_scatter (rank 3): output overlaps x1; give it memory of its own");
  a.output = a.output.with_data(nullptr);
  EXPECT_EQ(check_run(float_args(), a, 3).message(),
            "matmul_reduce_scatter (rank 3): output has no data (null pointer)");
}

}  // namespace
}  // namespace weft::ops
