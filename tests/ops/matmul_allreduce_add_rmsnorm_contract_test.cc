// SPDX-License-Identifier: Apache-2.0
// One failing call per rule, with the text a user sees.
#include <gtest/gtest.h>

#include "operand_rules.h"
#include "ops/matmul_allreduce_add_rmsnorm/contract.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceAddRmsNormArgs;
constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DType kI8 = DType::kInt8, kI4 = DType::kInt4, kI32 = DType::kInt32, kU64 = DType::kUInt64;

// (2, 3, 64) · (64, 10): legal calls of each scenario, without data.
Args float_args() {
  Args a;
  a.x1 = {nullptr, kF16, {2, 3, 64}};
  a.x2 = {nullptr, kF16, {64, 10}};
  a.bias = {nullptr, kF16, {10}};
  a.residual = {nullptr, kF16, {2, 3, 10}};
  a.gamma = {nullptr, kF16, {10}};
  a.y = TensorRef(nullptr, kF16, {2, 3, 10});
  a.norm_out = TensorRef(nullptr, kF16, {2, 3, 10});
  return a;
}
Args quant_args() {
  Args a = float_args();
  a.x1 = {nullptr, kI8, {2, 3, 64}};
  a.x2 = {nullptr, kI8, {64, 10}};
  a.bias = {nullptr, kI32, {10}};
  a.dequant_scale = {nullptr, kU64, {10}};
  return a;
}
Args weight_quant_args() {
  Args a = float_args();
  a.x2 = {nullptr, kI8, {64, 10}};
  a.antiquant_scale = {nullptr, kF16, {10}};
  a.antiquant_offset = {nullptr, kF16, {10}};
  return a;
}

const std::vector<BrokenRule<Args>>& broken_rules() {
  static const std::vector<BrokenRule<Args>> rules = [] {
    std::vector<BrokenRule<Args>> all =
        operand_rules(float_args, quant_args, weight_quant_args, kTiling);
    const std::vector<BrokenRule<Args>> own = {
        {"no_residual", float_args, [](Args& a) { a.residual = {}; }, "residual is missing", kNull},
        {"no_gamma", float_args, [](Args& a) { a.gamma = {}; }, "gamma is missing", kNull},
        {"no_y", float_args, [](Args& a) { a.y = {}; },
         "y is missing; for the in-place form pass residual's memory as y", kNull},
        {"no_norm_out", float_args, [](Args& a) { a.norm_out = {}; }, "norm_out is missing", kNull},
        {"rank_0", float_args,
         [](Args& a) {
           a.gamma = {nullptr, kF16, std::initializer_list<std::int64_t>{}};
         },
         "gamma has no dimensions", kInvalid},
        {"n_differs", float_args,
         [](Args& a) {
           a.residual = {nullptr, kF16, {2, 3, 11}};
         },
         "the last dimension of residual is 11 but that of x2 is 10; both are n", kInvalid},
        {"k_is_0", float_args,
         [](Args& a) {
           a.x1 = {nullptr, kF16, {2, 3, 0}};
           a.x2 = {nullptr, kF16, {0, 10}};
         },
         "k is 0 but there is no product without it; x1 is (2, 3, 0)", kInvalid},
        {"io_is_float32", float_args,
         [](Args& a) {
           a.residual = {nullptr, kF32, {2, 3, 10}};
         },
         "the outputs are float32 but must be float16 or bfloat16", kTiling},
        {"x1_is_not_io", float_args,
         [](Args& a) {
           a.residual = {nullptr, kBf16, {2, 3, 10}};
         },
         "x1 is float16 but the outputs are bfloat16; they must be the same", kTiling},
        {"bias_dtype", float_args,
         [](Args& a) {
           a.bias = {nullptr, kBf16, {10}};
         },
         "bias is bfloat16 but must be float16 like x1", kTiling},
        {"quant_scale_dtype_fp16", quant_args,
         [](Args& a) {
           a.dequant_scale = {nullptr, kBf16, {10}};
         },
         "dequant_scale is bfloat16 but must be uint64 or int64 when the outputs are float16; pack "
         "fp32 scales with trans_quant_param",
         kTiling},
        {"quant_scale_dtype_bf16", quant_args,
         [](Args& a) {
           a.residual = {nullptr, kBf16, {2, 3, 10}};
         },
         "dequant_scale is uint64 but must be bfloat16 when the outputs are bfloat16", kTiling},
        {"int4_odd", weight_quant_args,
         [](Args& a) {
           a.x2 = {nullptr, kI4, {64, 9}};
           a.antiquant_scale = {nullptr, kF16, {9}};
           a.antiquant_offset = a.bias = {};
           a.residual = {nullptr, kF16, {2, 3, 9}};
           a.gamma = {nullptr, kF16, {9}};
           a.y = a.norm_out = TensorRef(nullptr, kF16, {2, 3, 9});
         },
         "x2 is int4 with 9 elements along its adjacent axis, but that must be even (two per byte)",
         kTiling},
        {"residual_rank", float_args,
         [](Args& a) {
           a.residual = {nullptr, kF16, {6, 10}};
         },
         "residual is (6, 10) but must be (b, s, n), also with a 2-D x1", kTiling},
        {"rows_differ", float_args,
         [](Args& a) {
           a.residual = {nullptr, kF16, {2, 4, 10}};
         },
         "x1 has 6 rows but residual has 8 (b·s); they must be the same", kTiling},
        {"gamma_shape", float_args,
         [](Args& a) {
           a.gamma = {nullptr, kF16, {1, 10}};
         },
         "gamma is (1, 10) but must be (n) = (10)", kTiling},
        {"gamma_dtype", float_args,
         [](Args& a) {
           a.gamma = {nullptr, kF32, {10}};
         },
         "gamma is float32 but must be float16 like residual", kTiling},
        {"y_dtype", float_args,
         [](Args& a) {
           a.y = TensorRef(nullptr, kBf16, {2, 3, 10});
         },
         "y is bfloat16 but must be float16 like residual", kTiling},
        {"norm_out_shape", float_args,
         [](Args& a) {
           a.norm_out = TensorRef(nullptr, kF16, {3, 2, 10});
         },
         "norm_out is (3, 2, 10) but must be (2, 3, 10) like residual", kTiling},
        {"epsilon_0", float_args, [](Args& a) { a.epsilon = 0; },
         "epsilon is 0 but must be between 0 and 1 (both excluded)", kTiling},
        {"epsilon_1", float_args, [](Args& a) { a.epsilon = 1; },
         "epsilon is 1 but must be between 0 and 1 (both excluded)", kTiling},
        {"epsilon_nan", float_args, [](Args& a) { a.epsilon = __builtin_nan(""); },
         "epsilon is nan but must be between 0 and 1 (both excluded)", kTiling},
        {"residual_strides", float_args,
         [](Args& a) {
           const std::int64_t dims[] = {2, 3, 10}, strides[] = {60, 20, 2};
           a.residual = {nullptr, kF16, dims, strides};
         },
         "residual has stride 2 along n but its rows must be adjacent (1); make it contiguous",
         kTiling},
        {"gamma_fractal_nz", float_args,
         [](Args& a) { a.gamma = ConstTensorRef::fractal_nz(nullptr, kF16, 1, 10); },
         "gamma is FRACTAL_NZ but only x2 can be; pass it with strides", kTiling},
    };
    all.insert(all.end(), own.begin(), own.end());
    return all;
  }();
  return rules;
}

class ContractTest : public testing::TestWithParam<size_t> {};

TEST_P(ContractTest, NamesTheOperandBothValuesAndWhatToDo) {
  bool empty = false;
  expect_refused(broken_rules()[GetParam()], kMatmulAllReduceAddRmsNorm,
                 CannEntry::kMatmulAllReduceAddRmsNorm,
                 [&](const Args& args) { return check_plan(args, 3, empty); });
}

INSTANTIATE_TEST_SUITE_P(Rules, ContractTest, testing::Range(size_t{0}, broken_rules().size()),
                         [](const auto& test) {
                           return std::string(broken_rules()[test.param].name);
                         });

TEST(Contract, AcceptsWhatTheOperatorComputes) {
  bool empty = true;
  Args a = float_args();
  a.bias = {};
  a.x1 = {nullptr, kF16, {6, 64}};  // 2-D x1, 3-D residual
  a.x2 = ConstTensorRef(nullptr, kF16, {10, 64}).transposed();
  EXPECT_TRUE(check_plan(a, 0, empty).ok());
  EXPECT_FALSE(empty);
  a = weight_quant_args();
  a.antiquant_group_size = 32;
  a.antiquant_scale = a.antiquant_offset = {nullptr, kF16, {2, 10}};
  EXPECT_TRUE(check_plan(a, 0, empty).ok());
  a = quant_args();
  a.dequant_scale = {nullptr, kU64, {1, 10}};
  EXPECT_TRUE(check_plan(a, 0, empty).ok());
}

TEST(Contract, EmptyTensorsAreNoWork) {
  bool empty = false;
  Args a = float_args();
  a.x1 = {nullptr, kF16, {0, 3, 64}};
  a.residual = {nullptr, kF16, {0, 3, 10}};
  a.y = a.norm_out = TensorRef(nullptr, kF16, {0, 3, 10});
  EXPECT_TRUE(check_plan(a, 0, empty).ok());
  EXPECT_TRUE(empty);
  a.epsilon = 7;  // comes after the empty case in the order of rules
  EXPECT_TRUE(check_plan(a, 0, empty).ok());
}

// Rules of run(): memory.
class RunContractTest : public testing::Test {
 protected:
  static constexpr size_t kBytes = 4096;
  Args with_data() {
    Args a = float_args();
    a.x1 = a.x1.with_data(memory_[0]);
    a.x2 = a.x2.with_data(memory_[1]);
    a.bias = a.bias.with_data(memory_[2]);
    a.residual = a.residual.with_data(memory_[3]);
    a.gamma = a.gamma.with_data(memory_[4]);
    a.y = a.y.with_data(memory_[5]);
    a.norm_out = a.norm_out.with_data(memory_[6]);
    return a;
  }
  std::string check(const Args& args) { return check_run(float_args(), args, 3).message(); }
  static std::string text(const char* message) {
    return std::string("matmul_allreduce_add_rmsnorm (rank 3): ") + message;
  }
  char memory_[7][kBytes];
};

TEST_F(RunContractTest, AcceptsOtherPointersAndTheInPlaceForm) {
  Args a = with_data();
  EXPECT_EQ(check(a), "");
  a.y = a.y.with_data(memory_[3]);
  EXPECT_EQ(check(a), "");
}

TEST_F(RunContractTest, RefusesAnotherLayout) {
  Args a = with_data();
  a.bias = {};
  EXPECT_EQ(check(a),
            text("bias is none but float16 (10) was planned; plan again for another layout"));
  a = with_data();
  a.x1 = {memory_[0], kF16, {6, 64}};
  EXPECT_EQ(check(a), text("x1 is float16 (6, 64) but float16 (2, 3, 64) was planned; plan again "
                           "for another layout"));
  a = with_data();
  a.epsilon = 1e-5;
  EXPECT_EQ(check(a), text("epsilon 1e-05 differs from the planned 1e-06; plan again"));
}

TEST_F(RunContractTest, RefusesMissingData) {
  Args a = with_data();
  a.gamma = a.gamma.with_data(nullptr);
  EXPECT_EQ(check(a), text("gamma has no data (null pointer)"));
}

TEST_F(RunContractTest, RefusesOverlap) {
  Args a = with_data();
  a.norm_out = a.norm_out.with_data(memory_[3]);
  EXPECT_EQ(check(a), text("norm_out overlaps residual; give it memory of its own"));
  a = with_data();
  a.norm_out = a.norm_out.with_data(memory_[5] + 2);
  EXPECT_EQ(check(a), text("norm_out overlaps y; give it memory of its own"));
  a = with_data();
  a.y = a.y.with_data(memory_[3] + 2);
  EXPECT_EQ(check(a),
            text("y overlaps residual; only exactly residual's memory may be shared with y"));
  a = with_data();
  a.y = a.y.with_data(memory_[0]);
  EXPECT_EQ(check(a), text("y overlaps x1; give it memory of its own"));
}

}  // namespace
}  // namespace weft::ops
