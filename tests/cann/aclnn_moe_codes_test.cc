// SPDX-License-Identifier: Apache-2.0
// The codes of first phases of mixtures, and of the barriers.
#include <algorithm>
#include <vector>

#include "../base/scoped_env.h"
#include "aclnn_codes.h"
#include "aclnn_rules_moe.h"

namespace weft::cann {
namespace {

void drop(Rules& rules, std::initializer_list<const char*> touched) {
  std::erase_if(rules, [&](const Rule& rule) {
    return std::ranges::any_of(touched,
                               [&](const char* one) { return rule.touches.contains(one); });
  });
}
void drop_special(Rules& rules) {
  std::erase_if(rules, [](const Rule& rule) {
    for (const char* name : {"zero_", "copy_", "const_", "mesh_and_zero"})
      if (rule.name.starts_with(name)) return true;
    return false;
  });
  drop(rules, {"elasticInfo"});
}

class MoeCodes : public Codes {
 protected:
  /// The first version: expandIdx instead of assistInfoForCombine.
  static void to_first(EntryCall& call, Rules& rules, const char* op) {
    call.op = op;
    call.tensors.erase("assistInfoForCombine");
    call.tensors["expandIdx"] = tensor(ACL_INT32, {6});
    drop_special(rules);
    drop(rules, {"assistInfoForCombine", "alg", "sharedExpertX"});
    append(rules,
           {null("expandIdx"), dims_of("expandIdx_5", kTilingStep, kTiling, "expandIdx", {5}),
            dims_of("expandIdx_7", kTilingStep, kTiling, "expandIdx", {7}),
            dims_of("expandIdx_2d", kTilingStep, kTiling, "expandIdx", {3, 2})});
  }
  /// Base of calls that are changed by hand.
  EntryCall in_group(EntryCall call) {
    call.group = world_->two.name();
    return call;
  }
  static constexpr int kTilingStep = 5;
};

TEST_F(MoeCodes, Dispatch) { check_all(dispatch_call(), dispatch_rules(*world_)); }
TEST_F(MoeCodes, Combine) { check_all(combine_call(), combine_rules(*world_)); }
TEST_F(MoeCodes, CombineAddRmsNorm) { check_all(combine_norm_call(), combine_norm_rules(*world_)); }
TEST_F(MoeCodes, Barrier) { check_all(barrier_call(), barrier_rules(*world_)); }
TEST_F(MoeCodes, BufferReset) {
  const CannRanks sixteen(16);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EntryCall call = reset_call();
  call.group = sixteen.name();
  check_all(call, reset_rules(*world_));
  call.moe.need_sync = 0;
  EXPECT_EQ(code_of(call), kOk) << text();
  EXPECT_TRUE(empty_);
}

TEST_F(MoeCodes, OtherVersionsFollowTheSameTables) {
  for (auto [call, rules, op] :
       {std::tuple{dispatch_call(), dispatch_rules(*world_), "aclnnMoeDistributeDispatchV2"},
        std::tuple{combine_call(), combine_rules(*world_), "aclnnMoeDistributeCombineV2"},
        std::tuple{combine_norm_call(), combine_norm_rules(*world_),
                   "aclnnMoeDistributeCombineAddRmsNorm"}}) {
    call.op = op;
    drop_special(rules);
    check_all(call, rules);
  }
  EntryCall call = barrier_call();
  call.op = "aclnnDistributeBarrier";
  Rules rules = barrier_rules(*world_);
  drop(rules, {"timeOut", "elasticInfo"});
  check_all(call, rules);
}

TEST_F(MoeCodes, FirstVersionsHaveExpandIdx) {
  EntryCall dispatch = dispatch_call(), combine = combine_call();
  Rules of_dispatch = dispatch_rules(*world_), of_combine = combine_rules(*world_);
  to_first(dispatch, of_dispatch, "aclnnMoeDistributeDispatch");
  to_first(combine, of_combine, "aclnnMoeDistributeCombine");
  check_all(dispatch, of_dispatch);
  check_all(combine, of_combine);
}

TEST_F(MoeCodes, TheFirstVersionHasOneSharedExpert) {
  EntryCall call = in_group(dispatch_call());
  Rules none;
  to_first(call, none, "aclnnMoeDistributeDispatch");
  call.moe.shared_expert_num = 0;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.moe.shared_expert_rank_num = 1;  // rank 0 has G / S = 6 rows and one expert
  call.tensors["expertTokenNums"].dims = {1};
  EXPECT_EQ(code_of(call), kTiling);
  call.moe.shared_expert_num = 1;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["expandX"].dims[0] = 6;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["expandX"].dims[0] = 5;
  EXPECT_EQ(code_of(call), kTiling);
}

TEST_F(MoeCodes, WhatIsLeftOutOrNotLookedAt) {
  EntryCall call = in_group(dispatch_call());
  for (const char* which : {"dynamicScales", "expandScales", "expertScales"}) {
    call.tensors.erase(which);
    EXPECT_EQ(code_of(call), kOk) << which << text();
  }
  call.moe.group_tp = nullptr;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["tpRecvCounts"].dims = {1};
  EXPECT_EQ(code_of(call), kOk) << text();
  for (const char* algorithm : {"", "fullmesh_v1", "fullmesh_v2"}) {
    call.moe.comm_alg = algorithm;
    EXPECT_EQ(code_of(call), kOk) << text();
  }
  call.moe.shared_expert_num = 0;
  call.tensors["elasticInfo"] = tensor(ACL_INT32, {8});
  call.moe.comm_alg = nullptr;
  EXPECT_EQ(code_of(call), kOk) << text();

  EntryCall combine = in_group(combine_call());
  combine.moe.out_dtype = 3;
  combine.moe.group_list_type = 1;
  combine.moe.comm_alg = "whatever";
  combine.comm_quant_mode = 2;
  combine.tensors["expandScales"] = tensor(ACL_FLOAT, {1});
  combine.tensors["tpSendCounts"] = tensor(ACL_INT32, {0});
  EXPECT_EQ(code_of(combine), kOk) << text();
  for (const Dims& dims : {Dims{3, 1024}, Dims{3, 1, 1024}, Dims{1, 3, 1024}}) {
    combine.tensors["sharedExpertX"] = tensor(ACL_BF16, dims);
    EXPECT_EQ(code_of(combine), kOk) << text();
  }
  combine.moe.shared_expert_rank_num = 1;
  EXPECT_EQ(code_of(combine), kTiling);
}

TEST_F(MoeCodes, RowsOfInt8) {
  EntryCall call = in_group(dispatch_call());
  call.moe.quant_mode = 2;
  EXPECT_EQ(code_of(call), kTiling);  // of bfloat16
  call.tensors["expandX"].dtype = ACL_INT8;
  EXPECT_EQ(code_of(call), kOk) << text();
  EntryCall other = call;
  other.tensors.erase("dynamicScales");
  EXPECT_EQ(code_of(other), kNull);
  for (const Dims& dims : {Dims{11}, Dims{12, 1}}) {
    other.tensors["dynamicScales"] = tensor(ACL_FLOAT, dims);
    EXPECT_EQ(code_of(other), kTiling);
  }
  for (auto [rows, code] : {std::pair{4, kOk}, std::pair{5, kTiling}, std::pair{3, kTiling}}) {
    other = call;
    other.tensors["scales"] = tensor(ACL_FLOAT, {rows, 1024});
    EXPECT_EQ(code_of(other), code) << rows << text();
  }
  other.tensors["scales"] = tensor(ACL_FLOAT, {4, 1025});
  EXPECT_EQ(code_of(other), kTiling);
  other = call;
  other.moe.quant_mode = 1;
  EXPECT_EQ(code_of(other), kTiling);
}

// K may reach beyond the routed experts when there are special ones.
TEST_F(MoeCodes, SpecialExpertsHaveIds) {
  EntryCall call = in_group(dispatch_call());
  call.tensors["expertIds"].dims[1] = 6;
  EXPECT_EQ(code_of(call), kTiling);
  call.moe.zero_expert_num = call.moe.const_expert_num = 1;
  EXPECT_EQ(code_of(call), kOk) << text();
  EntryCall combine = in_group(combine_call());
  combine.moe.copy_expert_num = 1;
  combine.tensors["oriX"] = tensor(ACL_BF16, {3, 1024});
  EXPECT_EQ(code_of(combine), kOk) << text();
  combine.moe.const_expert_num = 2;
  for (const Dims& dims : {Dims{2}, Dims{2, 1024}}) {
    for (const char* which : {"constExpertAlpha1", "constExpertAlpha2"})
      combine.tensors[which] = tensor(ACL_BF16, dims);
    combine.tensors["constExpertV"] = tensor(ACL_BF16, {2, 1024});
    EXPECT_EQ(code_of(combine), kOk) << text();
  }
  for (const char* which : {"constExpertAlpha1", "constExpertAlpha2", "constExpertV", "oriX"}) {
    EntryCall without = combine;
    without.tensors.erase(which);
    EXPECT_EQ(code_of(without), kTiling) << which;
  }
}

TEST_F(MoeCodes, GlobalBs) {
  EntryCall call = in_group(dispatch_call());
  call.moe.global_bs = 6;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["xActiveMask"] = tensor(ACL_BOOL, {3});
  EXPECT_EQ(code_of(call), kOk) << text();
  call.moe.global_bs = 8;  // another rank has 4 tokens
  for (const char* which : {"expandX", "dynamicScales"}) call.tensors[which].dims[0] = 16;
  call.tensors["assistInfoForCombine"].dims[0] = 48;
  EXPECT_EQ(code_of(call), kTiling);
  call.tensors.erase("xActiveMask");
  EXPECT_EQ(code_of(call), kOk) << text();
  call.moe.comm_alg = "fullmesh_v2";
  EXPECT_EQ(code_of(call), kTiling);
  call.moe.comm_alg = nullptr;
  call.tensors["expandX"].dims[0] = 15;
  EXPECT_EQ(code_of(call), kTiling);
  call.moe.global_bs = std::int64_t{1} << 62;
  EXPECT_EQ(code_of(call), kTiling);
}

// TP: both groups, twice the rows, and counts of both ranks.
TEST_F(MoeCodes, Tp) {
  const CannRanks pair(2), three(3);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EntryCall call = in_group(dispatch_call());
  call.moe.moe_expert_num = 2;
  call.moe.tp_world_size = 2;
  call.moe.group_tp = pair.name();
  call.tensors["expandX"].dims[0] = 12;  // 2 · 6
  call.tensors["expertTokenNums"].dims = {1};
  call.tensors["tpRecvCounts"].dims = {2};
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["assistInfoForCombine"].dims = {18};  // the own rows alone
  EXPECT_EQ(code_of(call), kOk) << text();
  const auto refused = [&](int code, const std::function<void(EntryCall&)>& breaks) {
    EntryCall broken = call;
    breaks(broken);
    EXPECT_EQ(code_of(broken), code) << text();
  };
  refused(kTiling, [](EntryCall& c) { c.tensors["expandX"].dims[0] = 11; });
  refused(kTiling, [](EntryCall& c) { c.tensors["assistInfoForCombine"].dims = {17}; });
  refused(kTiling, [](EntryCall& c) { c.tensors["epRecvCounts"].dims = {3}; });
  refused(kTiling, [](EntryCall& c) { c.tensors["tpRecvCounts"].dims = {1}; });
  refused(kTiling, [](EntryCall& c) { c.tensors["elasticInfo"] = tensor(ACL_INT32, {8}); });
  refused(kTiling, [](EntryCall& c) { c.moe.comm_alg = "fullmesh_v2"; });
  refused(kTiling, [](EntryCall& c) { c.moe.tp_rank_id = 2; });
  refused(kTiling, [](EntryCall& c) { c.moe.group_tp = nullptr; });
  refused(kInvalid, [](EntryCall& c) { c.moe.tp_rank_id = 1; });
  refused(kInvalid, [&](EntryCall& c) { c.moe.group_tp = three.name(); });
  refused(kInvalid, [](EntryCall& c) { c.moe.group_tp = c.group; });
  refused(ACLNN_ERR_INNER, [](EntryCall& c) { c.moe.group_tp = "nobody"; });

  EntryCall combine = in_group(combine_call());
  combine.moe = call.moe;
  EXPECT_EQ(code_of(combine), kTiling);  // no tpSendCounts
  combine.tensors["tpSendCounts"] = tensor(ACL_INT32, {2});
  EXPECT_EQ(code_of(combine), kOk) << text();
  combine.comm_quant_mode = 2;
  EXPECT_EQ(code_of(combine), kTiling);
}

// The smallest HCCL_BUFFSIZE that CANN's documents tell for sizes of a call, and one MB less.
TEST_F(MoeCodes, BuffersOfTheProgram) {
  struct Case {
    std::int64_t tokens, hidden, experts, k;
    const char *enough, *less;
  };
  for (const Case& c : {Case{8, 7168, 4, 3, "2", "1"}, Case{512, 8192, 4, 8, "194", "193"}}) {
    EntryCall call = in_group(dispatch_call());
    call.moe.moe_expert_num = c.experts;
    if (c.k > c.experts) call.moe.zero_expert_num = c.k;
    const std::int64_t rows = c.tokens * 2 * 2;
    call.tensors["x"].dims = {c.tokens, c.hidden};
    call.tensors["expertIds"].dims = {c.tokens, c.k};
    call.tensors["expandX"].dims = {rows, c.hidden};
    call.tensors["expandX"].data = reinterpret_cast<void*>(0x6000'0000'0000);
    call.tensors["assistInfoForCombine"].dims = {3 * rows};
    for (auto [megabytes, code] :
         {std::pair{c.enough, kOk}, std::pair{c.less, kTiling}, std::pair{"0", kTiling},
          std::pair{"none", kOk}, std::pair{"18446744073709551615", kOk}}) {
      const ScopedEnv size("HCCL_BUFFSIZE", megabytes);
      EXPECT_EQ(code_of(call), code) << megabytes << text();
    }
  }
  // The first version: 4 · ranks · Bs · H · experts.
  EntryCall first = in_group(dispatch_call());
  Rules none;
  to_first(first, none, "aclnnMoeDistributeDispatch");
  first.tensors["x"].dims = {64, 1024};
  first.tensors["expertIds"].dims = {64, 2};
  first.tensors["expandIdx"].dims = {128};
  first.tensors["expandX"].dims = {256, 1024};
  for (auto [megabytes, code] : {std::pair{"1", kOk}, std::pair{"0", kTiling}}) {
    const ScopedEnv size("HCCL_BUFFSIZE", megabytes);
    EXPECT_EQ(code_of(first), code) << text();  // exactly 1 MB
  }
  first.tensors["x"].dims[1] = first.tensors["expandX"].dims[1] = 1025;
  const ScopedEnv size("HCCL_BUFFSIZE", "1");
  EXPECT_EQ(code_of(first), kTiling);
}

// R = 3 ranks of one shared expert among five: rows of two sources, although Bs · 5 / 3 is less.
TEST_F(MoeCodes, RowsOfASharedExpert) {
  const CannRanks five(5);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EntryCall call = dispatch_call();
  call.group = five.name();
  call.moe.ep_world_size = 5;
  call.moe.shared_expert_rank_num = 3;
  call.tensors["expertTokenNums"].dims = {1};
  call.tensors["epRecvCounts"].dims = {5};
  call.tensors["expandX"].dims[0] = 6;
  EXPECT_EQ(code_of(call), kOk) << text();
  call.tensors["expandX"].dims[0] = 5;
  EXPECT_EQ(code_of(call), kTiling);
  call.tensors["expandX"].dims[0] = 6;
  call.moe.shared_expert_num = 2;  // 3 is no multiple
  EXPECT_EQ(code_of(call), kTiling);
}

}  // namespace
}  // namespace weft::cann
