// SPDX-License-Identifier: Apache-2.0
// The codes of first phases: every rule of CANN's tables broken alone, and every two of them
// together, where the earlier step of the table decides.
#include "aclnn_codes.h"

#include "aclnn_rules.h"
#include "aclnnop/aclnn_trans_matmul_weight.h"

namespace weft::cann {
namespace {

TEST_F(Codes, MatmulAllReduce) { check_all(plain_call(), plain_rules(*world_)); }
TEST_F(Codes, QuantMatmulAllReduce) { check_all(quant_call(), quant_rules(*world_)); }
TEST_F(Codes, WeightQuantMatmulAllReduce) {
  check_all(weight_quant_call(), weight_quant_rules(*world_));
}
TEST_F(Codes, MatmulAllReduceAddRmsNorm) { check_all(norm_call(), norm_rules(*world_, nullptr)); }
TEST_F(Codes, QuantMatmulAllReduceAddRmsNorm) {
  check_all(quant_norm_call(), norm_rules(*world_, "dequantScale"));
}
TEST_F(Codes, WeightQuantMatmulAllReduceAddRmsNorm) {
  check_all(weight_quant_norm_call(), norm_rules(*world_, "antiquantScale"));
}
TEST_F(Codes, MatmulReduceScatter) { check_all(scatter_call(), scatter_rules(*world_)); }

TEST_F(Codes, Ffn) { check_all(ffn_call(), ffn_rules()); }
TEST_F(Codes, FfnWithAGate) { check_all(ffn_gate_call(), ffn_gate_rules()); }
TEST_F(Codes, FfnOfExperts) { check_all(ffn_experts_call(), ffn_experts_rules()); }
TEST_F(Codes, FfnOfInt8) { check_all(ffn_quant_call(), ffn_quant_rules()); }
TEST_F(Codes, FfnOfInt4Weights) { check_all(ffn_antiquant_call(), ffn_antiquant_rules()); }

TEST_F(Codes, MoeGatingTopKSoftmax) { check_all(gating_call(), gating_rules()); }
TEST_F(Codes, MoeInitRouting) { check_all(init_routing_call(), init_routing_rules()); }
TEST_F(Codes, MoeFinalizeRouting) { check_all(finalize_call(), finalize_rules()); }
TEST_F(Codes, MoeFinalizeRoutingV2) { check_all(finalize_v2_call(), finalize_v2_rules()); }
TEST_F(Codes, MoeFinalizeRoutingOfPaddedExperts) {
  check_all(finalize_padded_call(), finalize_padded_rules());
}

// V1 has no ends; V3 has its tokens in device memory, where first phases do not look.
TEST_F(Codes, OtherVersionsOfFfnFollowTheSameTables) {
  Rules rules = ffn_experts_rules();
  std::erase_if(rules, [](const Rule& rule) { return rule.name.starts_with("ends"); });
  EntryCall call = ffn_experts_call();
  call.op = "aclnnFFN";
  check_all(call, rules);
  call.op = "aclnnFFNV3";
  std::erase_if(rules, [](const Rule& rule) { return rule.name.starts_with("tokens"); });
  for (const Dims& dims : {Dims{0}, Dims{3}, Dims{2, 1}, Dims{}})
    rules.push_back(dims_of("tokens", 3, kInvalid, "expertTokens", dims));
  rules.push_back(dtype_of("tokens_int32", 3, kInvalid, "expertTokens", ACL_INT32));
  Rule without = null("expertTokens");
  without.step = 3;
  without.code = kInvalid;
  rules.push_back(without);
  check_all(call, rules);
  for (const char* op : {"aclnnFFNV2", "aclnnFFNV3"})
    for (auto [of, table] : {std::pair{ffn_call(), ffn_rules()},
                             std::pair{ffn_antiquant_call(), ffn_antiquant_rules()}}) {
      of.op = op;
      if (std::string(op).back() == '3')
        std::erase_if(table, [](const Rule& rule) { return rule.name.starts_with("tokens"); });
      check_all(of, table);
    }
}

TEST_F(Codes, InplaceFormsAndOtherVersionsFollowTheSameTables) {
  for (EntryCall base : {norm_call(), quant_norm_call(), weight_quant_norm_call()}) {
    base.op.insert(5, "Inplace");
    base.tensors.erase("y");
    Rules rules = norm_rules(*world_, nullptr);
    std::erase_if(rules, [](const Rule& rule) { return rule.touches.contains("y"); });
    if (base.tensors.contains("antiquantScale"))  // float16 by itself is a row of the plain form
      std::erase_if(rules, [](const Rule& rule) { return rule.name == "x2_float"; });
    check_all(base, rules);
  }
  EntryCall first = plain_call();
  first.op = "aclnnMatmulAllReduce";
  Rules rules = plain_rules(*world_);
  std::erase_if(rules, [](const Rule& rule) { return rule.name.starts_with("x3"); });
  check_all(first, rules);
  for (const char* version : {"", "V2", "V4"}) {
    EntryCall quant = quant_call();
    quant.op = std::string("aclnnQuantMatmulAllReduce") + version;
    Rules of_quant = quant_rules(*world_);
    const bool all = std::string(version) == "V4";
    std::erase_if(of_quant, [&](const Rule& rule) {
      return !all && (rule.touches.contains("commQuantScale1") ||
                      rule.touches.contains("commQuantScale2") ||
                      (std::string(version).empty() && rule.touches.contains("pertokenScale") &&
                       rule.name != "scale_float_alone"));
    });
    check_all(quant, of_quant);
  }
  EntryCall second = scatter_call();
  second.op = "aclnnMatmulReduceScatterV2";
  Rules of_scatter = scatter_rules(*world_);
  std::erase_if(of_scatter, [](const Rule& rule) { return rule.name == "x1_int8"; });
  check_all(second, of_scatter);
}

TEST_F(Codes, WhatVersionsReserve) {
  EntryCall base = quant_call();
  base.op = "aclnnQuantMatmulAllReduceV4";
  base.group = world_->two.name();
  EXPECT_EQ(code_of(base), kOk) << text();
  EntryCall call = base;
  call.group_size = 128;
  EXPECT_EQ(code_of(call), kInvalid);
  call = base;
  call.comm_quant_mode = 1;
  EXPECT_EQ(code_of(call), kInvalid);

  EntryCall scatter = scatter_call();
  scatter.op = "aclnnMatmulReduceScatterV2";
  scatter.group = world_->two.name();
  for (const char* mode : {"", "aiv", "ai_cpu"}) {
    scatter.comm_mode = mode;
    EXPECT_EQ(code_of(scatter), kOk) << text();
  }
  call = scatter;
  call.comm_mode = "ccu";
  EXPECT_EQ(code_of(call), kInvalid);
  call = scatter;
  call.block_size = 1;
  EXPECT_EQ(code_of(call), kInvalid);
  call = scatter;
  call.group_size = 1;
  EXPECT_EQ(code_of(call), kInvalid);
  call = scatter;
  call.tensors["quantScale"] = tensor(ACL_FLOAT, {1});
  EXPECT_EQ(code_of(call), kInvalid);
  call = scatter;
  call.tensors["amaxOut"] = tensor(ACL_FLOAT, {1});
  EXPECT_EQ(code_of(call), kInvalid);
  call.tensors["amaxOut"].dims = {0};
  EXPECT_EQ(code_of(call), kOk) << text();
  call = scatter;
  call.tensors["x2Scale"] = tensor(ACL_FLOAT, {1, kN});
  EXPECT_EQ(code_of(call), kInvalid);  // of float16 factors

  EntryCall quant = scatter;
  quant.comm_mode = "aiv";
  quant.tensors["x1"].dtype = quant.tensors["x2"].dtype = ACL_INT8;
  quant.tensors["bias"].dtype = ACL_INT32;
  EXPECT_EQ(code_of(quant), kNull);  // no x2Scale
  quant.tensors["x2Scale"] = tensor(ACL_FLOAT, {1, kN});
  EXPECT_EQ(code_of(quant), kInvalid);  // fp32 needs x1Scale
  quant.tensors["x1Scale"] = tensor(ACL_FLOAT, {kM, 1});
  EXPECT_EQ(code_of(quant), kOk) << text();
  quant.comm_mode = nullptr;
  EXPECT_EQ(code_of(quant), kInvalid);
}

// k = 0 is no product and yet a call, of weights that are no integers or are restored.
TEST_F(Codes, WithoutDepthThereAreStillBiasAndX3) {
  for (EntryCall call : {plain_call(), weight_quant_call()}) {
    call.group = world_->two.name();
    call.tensors["x1"].dims[1] = call.tensors["x2"].dims[0] = 0;
    EXPECT_EQ(code_of(call), kOk) << text();
    EXPECT_FALSE(empty_);
  }
}

// A transposed x2 may have more columns than the last axis of its storage.
TEST_F(Codes, ColumnsOfATransposedInt8Weight) {
  EntryCall call = quant_call();
  call.group = world_->two.name();
  for (auto& [name, d] : call.tensors)
    if (name != "x1") d.dims.back() = 70000;
  EXPECT_EQ(code_of(call), kTiling);
  call.tensors["x2"].strides = {1, kK};
  EXPECT_EQ(code_of(call), kOk) << text();
}

TEST_F(Codes, AWeightMadeFractalNzSlipsThroughToTiling) {
  EntryCall call = plain_call();
  call.group = world_->two.name();
  std::vector<std::uint16_t> weight(kK * kN);
  Described d(ACL_FLOAT16, {kK, kN});
  d.data = weight.data();
  aclTensor* x2 = d.create();
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(aclnnTransMatmulWeightGetWorkspaceSize(x2, &size, &executor), kOk) << text();
  EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);
  call.tensors["x2"].handle = x2;
  EXPECT_EQ(code_of(call), kTiling);
  EXPECT_NE(text().find("FRACTAL_NZ"), std::string::npos);
  call.tensors["x1"].dims[1] -= 1;
  EXPECT_EQ(code_of(call), kInvalid);
  EXPECT_EQ(aclDestroyTensor(x2), kOk);
}

TEST_F(Codes, MemoryIsLookedAtLast) {
  EntryCall call = plain_call();
  call.group = world_->two.name();
  call.tensors["output"].data = call.tensors["x1"].data;
  EXPECT_EQ(code_of(call), kInvalid);
  EXPECT_NE(text().find("overlap"), std::string::npos);
  call.tensors["output"].data = call.tensors["x3"].data;  // that is allowed
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["x1"].data = nullptr;
  EXPECT_EQ(code_of(call), kNull);
  call.comm_turn = 1;
  EXPECT_EQ(code_of(call), kTiling);
  EXPECT_EQ(aclrtResetDeviceForce(0), ACL_SUCCESS);
  call.comm_turn = 0;
  EXPECT_EQ(code_of(call), kTiling);  // no device is current
}

}  // namespace
}  // namespace weft::cann
