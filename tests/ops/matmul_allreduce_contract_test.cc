// SPDX-License-Identifier: Apache-2.0
// One failing call per rule, with the text a user sees and CANN's code.
#include <gtest/gtest.h>

#include "operand_rules.h"
#include "ops/matmul_allreduce/contract.h"

namespace weft::ops {
namespace {

using Args = MatmulAllReduceArgs;
using Broken = BrokenRule<Args>;
constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DType kI8 = DType::kInt8, kI32 = DType::kInt32, kU64 = DType::kUInt64,
                kI64 = DType::kInt64;

TensorRef out(DType dtype, std::initializer_list<std::int64_t> dims) {
  return TensorRef(nullptr, dtype, dims);
}

// (2, 3, 64) · (64, 10): legal calls of each scenario, without data.
Args float_args() {
  Args a;
  a.x1 = {nullptr, kF16, {2, 3, 64}};
  a.x2 = {nullptr, kF16, {64, 10}};
  a.bias = {nullptr, kF16, {10}};
  a.x3 = {nullptr, kF16, {2, 3, 10}};
  a.output = out(kF16, {2, 3, 10});
  return a;
}
Args quant_args() {  // Q1
  Args a = float_args();
  a.x1 = {nullptr, kI8, {2, 3, 64}};
  a.x2 = {nullptr, kI8, {64, 10}};
  a.bias = {nullptr, kI32, {10}};
  a.dequant_scale = {nullptr, kU64, {10}};
  a.comm_quant_scale_1 = a.comm_quant_scale_2 = {nullptr, kF16, {10}};
  return a;
}
Args pertoken_args() {  // Q4
  Args a = quant_args();
  a.dequant_scale = {nullptr, kF32, {10}};
  a.pertoken_scale = {nullptr, kF32, {6}};
  return a;
}
Args bfloat16_args() {  // Q3
  Args a = quant_args();
  a.dequant_scale = {nullptr, kBf16, {1, 10}};
  a.x3 = {nullptr, kBf16, {2, 3, 10}};
  a.output = out(kBf16, {2, 3, 10});
  a.comm_quant_scale_1 = a.comm_quant_scale_2 = {nullptr, kBf16, {1, 10}};
  return a;
}
Args weight_quant_args() {
  Args a = float_args();
  a.x2 = {nullptr, kI8, {64, 10}};
  a.antiquant_scale = a.antiquant_offset = {nullptr, kF16, {10}};
  return a;
}

CannEntry entry_of(const Args& a) {
  const DType x2 = a.x2.dtype();
  return a.x1.dtype() == kI8 ? CannEntry::kQuantMatmulAllReduce
         : x2 == kI8         ? CannEntry::kWeightQuantMatmulAllReduce
                             : CannEntry::kMatmulAllReduce;
}

const std::vector<Broken>& broken_rules() {
  static const std::vector<Broken> rules = [] {
    std::vector<Broken> all = operand_rules(float_args, quant_args, weight_quant_args, kInvalid);
    const std::vector<Broken> own = {
        {"no_output", float_args, [](Args& a) { a.output = {}; }, "output is missing", kNull},
        {"output_is_float32", float_args,
         [](Args& a) {
           a.output = out(kF32, {2, 3, 10});
         },
         "the outputs are float32 but must be float16 or bfloat16", kInvalid},
        {"output_is_not_x1", float_args,
         [](Args& a) {
           a.output = out(kBf16, {2, 3, 10});
         },
         "x1 is float16 but the outputs are bfloat16; they must be the same", kInvalid},
        {"x3_dtype", float_args,
         [](Args& a) {
           a.x3 = {nullptr, kBf16, {2, 3, 10}};
         },
         "x3 is bfloat16 but must be float16 like the outputs", kInvalid},
        {"bias_dtype", float_args,
         [](Args& a) {
           a.bias = {nullptr, kF32, {10}};
         },
         "bias is float32 but must be float16 like x1", kInvalid},
        {"pertoken_without_int8", float_args,
         [](Args& a) {
           a.pertoken_scale = {nullptr, kF32, {6}};
         },
         "pertoken_scale is given, but x1 is float16; leave it out", kInvalid},
        {"bf16_scale_fp16_output", quant_args,
         [](Args& a) {
           a.dequant_scale = {nullptr, kBf16, {10}};
         },
         "dequant_scale is bfloat16 but must be uint64 or int64 when the outputs are float16 and "
         "pertoken_scale is not given; pack fp32 scales with trans_quant_param",
         kInvalid},
        {"packed_scale_bf16_output", bfloat16_args,
         [](Args& a) {
           a.dequant_scale = {nullptr, kU64, {10}};
         },
         "dequant_scale is uint64 but must be bfloat16 when the outputs are bfloat16 and "
         "pertoken_scale is not given",
         kInvalid},
        {"fp32_scale_without_pertoken", quant_args,
         [](Args& a) {
           a.dequant_scale = {nullptr, kF32, {10}};
         },
         "dequant_scale is float32 but must be uint64 or int64 when the outputs are float16 and "
         "pertoken_scale is not given; pack fp32 scales with trans_quant_param",
         kTiling},
        {"packed_scale_with_pertoken", quant_args,
         [](Args& a) {
           a.pertoken_scale = {nullptr, kF32, {6}};
         },
         "dequant_scale is uint64 but must be float32 when the outputs are float16 and "
         "pertoken_scale is given",
         kInvalid},
        {"pertoken_dtype", pertoken_args,
         [](Args& a) {
           a.pertoken_scale = {nullptr, kF16, {6}};
         },
         "pertoken_scale is float16 but must be float32", kInvalid},
        {"no_axes", float_args,
         [](Args& a) {
           a.bias = {nullptr, kF16, std::initializer_list<std::int64_t>{}};
         },
         "bias has no dimensions", kInvalid},
        {"negative", float_args,
         [](Args& a) {
           a.x1 = {nullptr, kF16, {2, -3, 64}};
         },
         "x1 is (2, -3, 64) but no extent can be negative", kInvalid},
        {"bias_fractal_nz", float_args,
         [](Args& a) { a.bias = ConstTensorRef::fractal_nz(nullptr, kF16, 1, 10); },
         "bias is FRACTAL_NZ but only x2 can be; pass it with strides", kInvalid},
        {"output_fractal_nz", float_args,
         [](Args& a) {
           a.x1 = {nullptr, kF16, {6, 64}};
           a.x3 = {};
           a.output = TensorRef::fractal_nz(nullptr, kF16, 6, 10);
         },
         "output is FRACTAL_NZ but only x2 can be; pass it with strides", kInvalid},
        {"m_is_0", float_args,
         [](Args& a) {
           a.x1 = {nullptr, kF16, {2, 0, 64}};
           a.x3 = a.output = out(kF16, {2, 0, 10});
         },
         "m and n are 0 and 10 but both must be at least 1", kInvalid},
        {"n_is_0", float_args,
         [](Args& a) {
           a.x2 = {nullptr, kF16, {64, 0}};
           a.bias = {nullptr, kF16, {0}};
           a.x3 = a.output = out(kF16, {2, 3, 0});
         },
         "m and n are 6 and 0 but both must be at least 1", kInvalid},
        {"quant_m_is_0", quant_args,
         [](Args& a) {
           a.x1 = {nullptr, kI8, {2, 0, 64}};
           a.x3 = a.output = out(kF16, {2, 0, 10});
         },
         "m and n are 0 and 10 but both must be at least 1", kTiling},
        {"quant_k_is_0", quant_args,
         [](Args& a) {
           a.x1 = {nullptr, kI8, {2, 3, 0}};
           a.x2 = {nullptr, kI8, {0, 10}};
         },
         "k is 0 but must be at least 1 with int8 x1 and x2; x1 is (2, 3, 0)", kTiling},
        {"too_many_rows", float_args,
         [](Args& a) {
           a.x1 = {nullptr, kF16, {std::int64_t{1} << 31, 64}};
           a.x3 = a.output = out(kF16, {std::int64_t{1} << 31, 10});
         },
         "m, k, n are 2147483648, 64, 10 but each must be at most 2147483647", kTiling},
        {"output_shape", float_args,
         [](Args& a) {
           a.output = out(kF16, {6, 10});
         },
         "output is (6, 10) but must be (2, 3, 10) like x1 with its last dimension n", kInvalid},
        {"x3_shape", float_args,
         [](Args& a) {
           a.x3 = {nullptr, kF16, {3, 2, 10}};
         },
         "x3 is (3, 2, 10) but must be (2, 3, 10) like output", kInvalid},
        {"x3_strides", float_args,
         [](Args& a) {
           const std::int64_t dims[] = {2, 3, 10}, strides[] = {60, 20, 2};
           a.x3 = {nullptr, kF16, dims, strides};
         },
         "x3 has stride 2 along n but its rows must be adjacent (1); make it contiguous", kInvalid},
        {"output_rows_share_memory", float_args,
         [](Args& a) {
           const std::int64_t dims[] = {2, 3, 10}, strides[] = {0, 10, 1};
           a.output = {nullptr, kF16, dims, strides};
         },
         "output has strides (0, 10, 1) that put several of its rows at the same place; make it "
         "contiguous",
         kInvalid},
        {"pertoken_shape", pertoken_args,
         [](Args& a) {
           a.pertoken_scale = {nullptr, kF32, {2, 3}};
         },
         "pertoken_scale is (2, 3) but must be one value for each row of x1: (6)", kInvalid},
        {"comm_scale_1_alone", quant_args, [](Args& a) { a.comm_quant_scale_2 = {}; },
         "comm_quant_scale_2 is missing; give both for int8 communication, or neither", kInvalid},
        {"comm_scale_2_alone", quant_args, [](Args& a) { a.comm_quant_scale_1 = {}; },
         "comm_quant_scale_1 is missing; give both for int8 communication, or neither", kInvalid},
        {"comm_scale_dtype", quant_args,
         [](Args& a) {
           a.comm_quant_scale_1 = {nullptr, kBf16, {10}};
         },
         "comm_quant_scale_1 is bfloat16 but must be float16 like output", kInvalid},
        {"comm_scale_1_shape", quant_args,
         [](Args& a) {
           a.comm_quant_scale_1 = {nullptr, kF16, {9}};
         },
         "comm_quant_scale_1 is (9) but must be (10) or (1, 10)", kInvalid},
        {"comm_scale_2_shape", quant_args,
         [](Args& a) {
           a.comm_quant_scale_2 = {nullptr, kF16, {1}};
         },
         "comm_quant_scale_2 is (1) but must be (10) or (1, 10)", kInvalid},
        {"comm_scale_ranks", quant_args,
         [](Args& a) {
           a.comm_quant_scale_2 = {nullptr, kF16, {1, 10}};
         },
         "comm_quant_scale_1 is (10) but comm_quant_scale_2 is (1, 10); give both the same shape",
         kInvalid},
        {"comm_scale_without_int8", float_args,
         [](Args& a) {
           a.comm_quant_scale_1 = a.comm_quant_scale_2 = {nullptr, kF16, {10}};
         },
         "comm_quant_scale_1 is given, but int8 communication needs int8 x1 and x2, not float16 "
         "and "
         "float16",
         kNoCode},
    };
    all.insert(all.end(), own.begin(), own.end());
    return all;
  }();
  return rules;
}

class ContractTest : public testing::TestWithParam<size_t> {};

TEST_P(ContractTest, NamesTheOperandBothValuesAndWhatToDo) {
  const Broken& rule = broken_rules()[GetParam()];
  expect_refused(rule, kMatmulAllReduce, entry_of(rule.base()),
                 [](const Args& args) { return check_plan(args, 3); });
}

INSTANTIATE_TEST_SUITE_P(Rules, ContractTest, testing::Range(size_t{0}, broken_rules().size()),
                         [](const auto& test) {
                           return std::string(broken_rules()[test.param].name);
                         });

TEST(Contract, AcceptsWhatTheOperatorComputes) {
  const auto expect_legal = [](const Args& a) {
    const Status status = check_plan(a, 0);
    EXPECT_TRUE(status.ok()) << status.to_string();
  };
  for (const Args& a :
       {float_args(), quant_args(), pertoken_args(), bfloat16_args(), weight_quant_args()})
    expect_legal(a);
  Args a = quant_args();  // Q2
  a.dequant_scale = {nullptr, kI64, {1}};
  expect_legal(a);
  a.x2 = ConstTensorRef::fractal_nz(nullptr, kI8, 10, 64).transposed();
  expect_legal(a);
  a = bfloat16_args();  // Q5
  a.pertoken_scale = {nullptr, kF32, {6}};
  expect_legal(a);
  a = float_args();  // k = 0 leaves bias and x3
  a.x1 = {nullptr, kF16, {2, 3, 0}};
  a.x2 = {nullptr, kF16, {0, 10}};
  expect_legal(a);
  a.x2 = ConstTensorRef(nullptr, kF16, {10, 0}).transposed();
  expect_legal(a);
  a = weight_quant_args();  // group and scale shapes are not looked at with k = 0
  a.x1 = {nullptr, kF16, {2, 3, 0}};
  a.x2 = {nullptr, kI8, {0, 10}};
  a.antiquant_group_size = 32;
  expect_legal(a);
}

// Rules of run(): memory.
class RunContractTest : public testing::Test {
 protected:
  Args with_data() {
    Args a = float_args();
    a.x1 = a.x1.with_data(memory_[0]);
    a.x2 = a.x2.with_data(memory_[1]);
    a.bias = a.bias.with_data(memory_[2]);
    a.x3 = a.x3.with_data(memory_[3]);
    a.output = a.output.with_data(memory_[4]);
    return a;
  }
  std::string check(const Args& args) { return check_run(float_args(), args, 3).message(); }
  static std::string text(const char* message) {
    return std::string("matmul_allreduce (rank 3): ") + message;
  }
  char memory_[5][4096];
};

TEST_F(RunContractTest, AcceptsOtherPointersAndX3InPlaceOfOutput) {
  Args a = with_data();
  EXPECT_EQ(check(a), "");
  a.output = a.output.with_data(memory_[3]);
  EXPECT_EQ(check(a), "");
}

TEST_F(RunContractTest, RefusesWhatWasNotPlanned) {
  Args a = with_data();
  a.x3 = {};
  EXPECT_EQ(check(a), text("x3 is none but float16 (2, 3, 10) was planned; plan again for another "
                           "layout"));
  a = with_data();
  a.antiquant_group_size = 32;
  EXPECT_EQ(check(a), text("antiquant_group_size 32 differs from the planned 0; plan again"));
  a = with_data();
  a.bias = a.bias.with_data(nullptr);
  EXPECT_EQ(check(a), text("bias has no data (null pointer)"));
}

TEST_F(RunContractTest, RefusesOverlap) {
  Args a = with_data();
  a.output = a.output.with_data(memory_[1] + 2);
  EXPECT_EQ(check(a), text("output overlaps x2; give it memory of its own"));
  a = with_data();
  a.output = a.output.with_data(memory_[3] + 2);
  EXPECT_EQ(check(a),
            text("output overlaps x3; only exactly x3's memory may be shared with output"));
}

}  // namespace
}  // namespace weft::ops
