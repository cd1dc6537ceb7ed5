// SPDX-License-Identifier: Apache-2.0
// The tables of aclnnMoeDistribute… and of the barriers. CANN's wrapper, its table of dtypes and
// its tiling look at a call one after the other; weft's own rules about communicators come behind.
#include "aclnn_rules_moe.h"

namespace weft::cann {
namespace {

enum Step { kGiven = 1, kNames, kGivenLater, kDtypes, kTilingStep, kFit, kFound, kData, kApart };
constexpr std::int64_t kTokens = 3, kChosen = 2, kHidden = 1024, kRows = 12;

std::string long_name() { return std::string(128, 'g'); }

using Break = std::function<void(EntryCall&)>;
Rule breaks(std::string name, int step, int code, std::set<std::string> touches, Break how) {
  return {std::move(name), step, code, std::move(touches), std::move(how)};
}
Rule tiling(std::string name, std::set<std::string> touches, Break how) {
  return breaks(std::move(name), kTilingStep, kTiling, std::move(touches), std::move(how));
}
/// Attributes that depend on each other are told apart by nothing but their common code.
Rule value(std::string name, std::int64_t MoeParameters::*which, std::int64_t number) {
  name += "_" + std::to_string(number);
  return tiling(name, {"attributes"}, [=](EntryCall& c) { c.moe.*which = number; });
}
Rule dims(const std::string& which, Dims extents) {
  std::string name = which;
  for (std::int64_t extent : extents) name += "_" + std::to_string(extent);
  return dims_of(name, kTilingStep, kTiling, which, std::move(extents));
}
Rule dtype(const std::string& which, int type) {
  return dtype_of(which + "_dtype", kDtypes, kInvalid, which, type);
}
/// float16 instead of bfloat16, which `like` has.
Rule half(const std::string& which, const std::string& like) {
  Rule rule = dtype(which, ACL_FLOAT16);
  rule.touches.insert(like);
  return rule;
}
Rule tiled(const std::string& which) {
  return change(which + "_nz", kTilingStep, kTiling, which,
                [](Described& d) { d.format = ACL_FORMAT_FRACTAL_NZ; });
}
Rule no_data(const std::string& which) {
  return change(which + "_without_data", kData, kNull, which,
                [](Described& d) { d.data = nullptr; });
}
Rule null_later(const std::string& which) {
  Rule rule = null(which);
  rule.step = kGivenLater;
  return rule;
}

/// What every table begins with.
Rules first_rules() {
  return {breaks("group_null", kGiven, kNull, {"group"}, [](EntryCall& c) { c.group = nullptr; }),
          breaks("no_workspace_size", kGiven, kNull, {"ws"},
                 [](EntryCall& c) { c.no_workspace_size = true; }),
          breaks("no_executor", kGiven, kNull, {"ex"}, [](EntryCall& c) { c.no_executor = true; })};
}

Rules common(const World& world, int code_of_long_name) {
  static const std::string name = long_name(), unknown(127, 'g');
  const int step_of_long_name = code_of_long_name == kNull ? kGiven : kNames;
  const char *two = world.two.name(), *three = world.three.name();
  Rules rules = first_rules();
  append(rules,
         {breaks("group_empty", kGiven, kNull, {"group"}, [](EntryCall& c) { c.group = ""; }),
          breaks("group_long", step_of_long_name, code_of_long_name, {"group"},
                 [](EntryCall& c) { c.group = name.c_str(); }),
          breaks("group_tp_long", step_of_long_name, code_of_long_name, {"groupTp"},
                 [](EntryCall& c) { c.moe.group_tp = name.c_str(); }),
          breaks("group_unknown", kFound, ACLNN_ERR_INNER, {"group"},
                 [](EntryCall& c) { c.group = unknown.c_str(); }),
          breaks("group_of_three", kFit, kInvalid, {"group"},
                 [three](EntryCall& c) { c.group = three; }),
          breaks("other_rank", kFit, kInvalid, {"attributes", "group"},
                 [](EntryCall& c) { c.moe.ep_rank_id = 1; }),
          breaks("groups_equal", kFit, kInvalid, {"groupTp", "group"},
                 [two](EntryCall& c) { c.moe.group_tp = two; }),
          tiling("tp_group_empty", {"attributes", "groupTp"},
                 [](EntryCall& c) {
                   c.moe.tp_world_size = 2;
                   c.moe.group_tp = "";
                 }),
          tiling("tp_of_two_experts", {"attributes", "groupTp"}, [](EntryCall& c) {
            c.moe.tp_world_size = 2;
            c.moe.group_tp = "tp";
          })});
  using M = MoeParameters;
  for (std::int64_t number : {0, 1, 769, -1})
    rules.push_back(value("ep", &M::ep_world_size, number));
  for (std::int64_t number : {2, -1}) rules.push_back(value("rank", &M::ep_rank_id, number));
  for (std::int64_t number : {3, -1}) rules.push_back(value("tp", &M::tp_world_size, number));
  for (std::int64_t number : {1, -1}) rules.push_back(value("tp_rank", &M::tp_rank_id, number));
  rules.push_back(value("shard", &M::expert_shard_type, 1));
  for (std::int64_t number : {2, 5, -1})
    rules.push_back(value("ns", &M::shared_expert_num, number));
  for (std::int64_t number : {2, -1})
    rules.push_back(value("s", &M::shared_expert_rank_num, number));
  for (std::int64_t number : {0, 3, 1025, -1})
    rules.push_back(value("e", &M::moe_expert_num, number));
  for (std::int64_t number : {5, 7, -6}) rules.push_back(value("global", &M::global_bs, number));
  append(rules,
         {dims("expertIds", {kTokens}), dims("expertIds", {kTokens, kChosen, 1}),
          dims("expertIds", {0, kChosen}), dims("expertIds", {513, kChosen}),
          dims("expertIds", {kTokens, 0}), dims("expertIds", {kTokens, 5}),
          dims("expertIds", {kTokens + 1, kChosen}), dtype("expertIds", ACL_INT64),
          dtype("expertIds", 63), tiled("expertIds"), no_data("expertIds"),
          add("mask_float", kDtypes, kInvalid, "xActiveMask", tensor(ACL_FLOAT, {kTokens}))});
  for (const Dims& extents :
       {Dims{kTokens + 1}, Dims{kTokens, kChosen + 1}, Dims{kTokens, kChosen, 1}, Dims{}})
    rules.push_back(add("mask", kTilingStep, kTiling, "xActiveMask", tensor(ACL_BOOL, extents)));
  return rules;
}

Rules special_rules() {
  using M = MoeParameters;
  Rules rules;
  for (auto [name, which] :
       {std::pair{"zero", &M::zero_expert_num}, std::pair{"copy", &M::copy_expert_num},
        std::pair{"const", &M::const_expert_num}})
    for (std::int64_t number :
         {std::int64_t{-1}, std::int64_t{1} << 31, (std::int64_t{1} << 31) - 4})
      rules.push_back(value(name, which, number));
  append(rules,
         {add("elastic_length", kTilingStep, kTiling, "elasticInfo", tensor(ACL_INT32, {7})),
          add("elastic_axes", kTilingStep, kTiling, "elasticInfo", tensor(ACL_INT32, {8, 1})),
          add("elastic_float", kDtypes, kInvalid, "elasticInfo", tensor(ACL_FLOAT, {8})),
          add("elastic_null", kData, kNull, "elasticInfo", Described(ACL_INT32, {8}))});
  return rules;
}

}  // namespace

EntryCall dispatch_call() {
  EntryCall call;
  call.op = "aclnnMoeDistributeDispatchV3";
  call.tensors = {{"x", tensor(ACL_BF16, {kTokens, kHidden})},
                  {"expertIds", tensor(ACL_INT32, {kTokens, kChosen})},
                  {"expertScales", tensor(ACL_FLOAT, {kTokens, kChosen})},
                  {"expandX", tensor(ACL_BF16, {kRows, kHidden})},
                  {"dynamicScales", tensor(ACL_FLOAT, {kRows})},
                  {"assistInfoForCombine", tensor(ACL_INT32, {3 * kRows})},
                  {"expertTokenNums", tensor(ACL_INT64, {2})},
                  {"epRecvCounts", tensor(ACL_INT32, {4})},
                  {"tpRecvCounts", tensor(ACL_INT32, {0})},
                  {"expandScales", tensor(ACL_FLOAT, {kRows})}};
  return call;
}

Rules dispatch_rules(const World& world) {
  static const std::string no_handle(64, 'x');
  using M = MoeParameters;
  Rules rules = common(world, kNull);
  append(rules, special_rules());
  for (const char* which : {"x", "expertIds", "expandX", "assistInfoForCombine", "expertTokenNums",
                            "epRecvCounts", "tpRecvCounts"})
    rules.push_back(null(which));
  for (std::int64_t number : {1, 2, 3, 4, -1})
    rules.push_back(tiling("quant_" + std::to_string(number), {"attributes", "expandX"},
                           [number](EntryCall& c) { c.moe.quant_mode = number; }));
  for (std::int64_t number : {2, -1})
    rules.push_back(value("type", &M::expert_token_nums_type, number));
  append(rules, {breaks("x_is_no_tensor", kDtypes, kInvalid, {"x"},
                        [](EntryCall& c) {
                          c.tensors["x"].handle = reinterpret_cast<const aclTensor*>(&no_handle);
                        }),
                 dtype("x", ACL_FLOAT),
                 half("x", "expandX"),
                 half("expandX", "x"),
                 dtype("expandX", ACL_INT32),
                 dtype("dynamicScales", ACL_BF16),
                 dtype("assistInfoForCombine", ACL_INT64),
                 dtype("expertTokenNums", ACL_INT32),
                 dtype("epRecvCounts", ACL_INT64),
                 dtype("tpRecvCounts", ACL_INT64),
                 dtype("expandScales", ACL_BF16),
                 dtype("expertScales", ACL_BF16),
                 add("scales_bf16", kDtypes, kInvalid, "scales", tensor(ACL_BF16, {4, kHidden})),
                 add("scales_without_quant", kTilingStep, kTiling, "scales",
                     tensor(ACL_FLOAT, {4, kHidden})),
                 change("int8_without_quant", kTilingStep, kTiling, "expandX",
                        [](Described& d) { d.dtype = ACL_INT8; }),
                 dims("x", {kTokens + 1, kHidden}),
                 dims("x", {kTokens, kHidden, 1}),
                 dims("x", {kTokens}),
                 dims("x", {kTokens, kHidden - 1}),
                 dims("x", {kTokens, 8193}),
                 dims("expandX", {kRows - 1, kHidden}),
                 dims("expandX", {kRows, kHidden + 1}),
                 dims("expandX", {kRows}),
                 dims("assistInfoForCombine", {3 * kRows - 1}),
                 dims("assistInfoForCombine", {kRows, 3}),
                 dims("expertTokenNums", {3}),
                 dims("expertTokenNums", {1}),
                 dims("epRecvCounts", {3}),
                 dims("epRecvCounts", {2, 2}),
                 dims("tpRecvCounts", {2}),
                 dims("tpRecvCounts", {}),
                 tiled("x"),
                 tiled("expandX"),
                 change("expandX_strides", kTilingStep, kTiling, "expandX",
                        [](Described& d) {
                          d.strides = {1, kRows};
                        }),
                 tiling("alg", {"alg"}, [](EntryCall& c) { c.moe.comm_alg = "fullmesh_v3"; }),
                 tiling("mesh_and_mask", {"alg", "xActiveMask"},
                        [](EntryCall& c) {
                          c.moe.comm_alg = "fullmesh_v2";
                          c.tensors["xActiveMask"] = tensor(ACL_BOOL, {kTokens});
                        }),
                 tiling("mesh_and_zero_experts", {"alg", "attributes"},
                        [](EntryCall& c) {
                          c.moe.comm_alg = "fullmesh_v2";
                          c.moe.zero_expert_num = 1;
                        }),
                 tiling("mesh_and_elastic", {"alg", "elasticInfo"},
                        [](EntryCall& c) {
                          c.moe.comm_alg = "fullmesh_v2";
                          c.tensors["elasticInfo"] = tensor(ACL_INT32, {8});
                        }),
                 no_data("x"),
                 no_data("expandX"),
                 no_data("epRecvCounts"),
                 breaks("overlap", kApart, kInvalid, {"x", "expandX"},
                        [](EntryCall& c) { c.tensors["expandX"].data = c.tensors["x"].data; })});
  return rules;
}

EntryCall combine_call() {
  EntryCall call;
  call.op = "aclnnMoeDistributeCombineV3";
  call.tensors = {{"expandX", tensor(ACL_BF16, {kRows, kHidden})},
                  {"expertIds", tensor(ACL_INT32, {kTokens, kChosen})},
                  {"assistInfoForCombine", tensor(ACL_INT32, {128 * kRows})},
                  {"epSendCounts", tensor(ACL_INT32, {4})},
                  {"expertScales", tensor(ACL_FLOAT, {kTokens, kChosen})},
                  {"xOut", tensor(ACL_BF16, {kTokens, kHidden})}};
  return call;
}

Rules combine_rules(const World& world) {
  using M = MoeParameters;
  Rules rules = common(world, kInvalid);
  append(rules, special_rules());
  for (const char* which :
       {"expandX", "expertIds", "assistInfoForCombine", "epSendCounts", "expertScales", "xOut"})
    rules.push_back(null(which));
  for (const char* which : {"activationScale", "weightScale", "groupList"})
    rules.push_back(add(which, kTilingStep, kTiling, which, tensor(ACL_FLOAT, {kRows})));
  for (std::int64_t number : {1, 3, -1})
    rules.push_back(tiling("comm_quant_" + std::to_string(number), {"comm_quant"},
                           [number](EntryCall& c) { c.comm_quant_mode = number; }));
  append(rules, {dtype("expandX", ACL_FLOAT),
                 half("expandX", "xOut"),
                 half("xOut", "expandX"),
                 dtype("assistInfoForCombine", ACL_INT64),
                 dtype("epSendCounts", ACL_INT64),
                 dtype("expertScales", ACL_BF16),
                 change("expandX_int32", kTilingStep, kTiling, "expandX",
                        [](Described& d) { d.dtype = ACL_INT32; }),
                 add("tp_counts_int64", kDtypes, kInvalid, "tpSendCounts", tensor(ACL_INT64, {0})),
                 add("tp_counts_2", kTilingStep, kTiling, "tpSendCounts", tensor(ACL_INT32, {2})),
                 add("shared_float", kDtypes, kInvalid, "sharedExpertX",
                     tensor(ACL_FLOAT, {kTokens, kHidden})),
                 add("shared_half", kTilingStep, kTiling, "sharedExpertX",
                     tensor(ACL_FLOAT16, {kTokens, kHidden})),
                 add("shared_rows", kTilingStep, kTiling, "sharedExpertX",
                     tensor(ACL_BF16, {kTokens + 1, kHidden})),
                 add("shared_3d", kTilingStep, kTiling, "sharedExpertX",
                     tensor(ACL_BF16, {kTokens, 2, kHidden})),
                 add("shared_columns", kTilingStep, kTiling, "sharedExpertX",
                     tensor(ACL_BF16, {kTokens, 1, kHidden + 1})),
                 dims("expandX", {kRows - 1, kHidden}),
                 dims("expandX", {kRows, kHidden - 1}),
                 dims("expandX", {kRows, 8193}),
                 dims("expandX", {kRows}),
                 dims("assistInfoForCombine", {128 * kRows - 1}),
                 dims("assistInfoForCombine", {kRows, 128}),
                 dims("epSendCounts", {3}),
                 dims("expertScales", {kTokens}),
                 dims("expertScales", {kTokens, kChosen + 1}),
                 dims("xOut", {kTokens + 1, kHidden}),
                 dims("xOut", {kTokens, 1, kHidden}),
                 dims("xOut", {kTokens, kHidden + 1}),
                 tiled("xOut"),
                 tiling("copy_without_ori", {"attributes"},
                        [](EntryCall& c) { c.moe.copy_expert_num = 1; }),
                 tiling("const_without_alpha", {"attributes", "oriX"},
                        [](EntryCall& c) {
                          c.moe.const_expert_num = 1;
                          c.tensors["oriX"] = tensor(ACL_BF16, {kTokens, kHidden});
                        }),
                 value("copy", &M::copy_expert_num, 2),
                 no_data("expandX"),
                 no_data("xOut"),
                 breaks("overlap", kApart, kInvalid, {"expandX", "xOut"},
                        [](EntryCall& c) { c.tensors["xOut"].data = c.tensors["expandX"].data; })});
  return rules;
}

EntryCall combine_norm_call() {
  EntryCall call = combine_call();
  call.op = "aclnnMoeDistributeCombineAddRmsNormV2";
  call.tensors["residualX"] = tensor(ACL_BF16, {kTokens, 1, kHidden});
  call.tensors["gamma"] = tensor(ACL_BF16, {kHidden});
  call.tensors["xOut"] = tensor(ACL_BF16, {kTokens, 1, kHidden});
  call.tensors["yOut"] = tensor(ACL_BF16, {kTokens, 1, kHidden});
  call.tensors["rstdOut"] = tensor(ACL_FLOAT, {kTokens, 1, 1});
  return call;
}

Rules combine_norm_rules(const World& world) {
  Rules rules = combine_rules(world);
  std::erase_if(rules, [](const Rule& rule) {
    return rule.name.starts_with("xOut_") || rule.name == "expandX_int32" ||
           rule.name == "shared_half";
  });
  append(rules, {dtype("xOut", ACL_FLOAT16), dtype("expandX", ACL_INT32),
                 add("shared_half", kDtypes, kInvalid, "sharedExpertX",
                     tensor(ACL_FLOAT16, {kTokens, kHidden})),
                 dims("xOut", {kTokens, kHidden})});
  for (const char* which : {"residualX", "gamma", "yOut", "rstdOut"}) {
    rules.push_back(null_later(which));
    rules.push_back(dtype(which, ACL_FLOAT16));
    rules.push_back(no_data(which));
  }
  for (const char* which : {"residualX", "yOut", "xOut"})
    for (const Dims& extents : {Dims{1, kTokens, kHidden}, Dims{kTokens, kHidden},
                                Dims{kTokens, 1, kHidden + 1}, Dims{kTokens + 1, 1, kHidden}})
      rules.push_back(dims(which, extents));
  for (const Dims& extents : {Dims{kTokens}, Dims{kTokens, 1}, Dims{kTokens, 1, 2},
                              Dims{1, 1, kTokens}, Dims{1, kTokens, 1}})
    rules.push_back(dims("rstdOut", extents));
  for (const Dims& extents : {Dims{kHidden + 1}, Dims{1, kHidden}})
    rules.push_back(dims("gamma", extents));
  return rules;
}

EntryCall barrier_call() {
  EntryCall call;
  call.op = "aclnnDistributeBarrierV2";
  call.tensors = {{"xRef", tensor(ACL_BF16, {2, 3})},
                  {"timeOut", tensor(ACL_INT32, {1})},
                  {"elasticInfo", tensor(ACL_INT32, {8})}};
  return call;
}

Rules barrier_rules(const World& world) {
  static const std::string name = long_name();
  const char* three = world.three.name();
  using M = MoeParameters;
  Rules rules = first_rules();
  append(rules, {null("xRef"), dtype("xRef", ACL_DOUBLE), dtype("xRef", ACL_INT4),
                 dtype("timeOut", ACL_INT64), dtype("elasticInfo", ACL_FLOAT), dims("timeOut", {2}),
                 dims("timeOut", {0}), dims("timeOut", {}), dims("timeOut", {1, 1}),
                 dims("elasticInfo", {7}), dims("elasticInfo", {2, 4}),
                 dims("xRef", {1, 1, 1, 1, 1, 1, 1, 1, 1}),
                 tiling("group_empty", {"group"}, [](EntryCall& c) { c.group = ""; }),
                 tiling("group_long", {"group"}, [](EntryCall& c) { c.group = name.c_str(); }),
                 tiling("group_unknown", {"group"}, [](EntryCall& c) { c.group = "unknown"; }),
                 tiling("group_of_three", {"group", "attributes"},
                        [three](EntryCall& c) { c.group = three; })});
  for (std::int64_t number : {0, 1, 3, 385, -1})
    rules.push_back(value("world", &M::ep_world_size, number));
  return rules;
}

EntryCall reset_call() {
  EntryCall call;
  call.op = "aclnnMoeDistributeBufferReset";
  call.moe.ep_world_size = 16;
  call.tensors = {{"elasticInfo", tensor(ACL_INT32, {16})}};
  return call;
}

Rules reset_rules(const World& world) {
  static const std::string name = long_name();
  const char* three = world.three.name();
  using M = MoeParameters;
  Rules rules = first_rules();
  append(rules,
         {null("elasticInfo"),
          breaks("group_empty", kNames, kInvalid, {"group"}, [](EntryCall& c) { c.group = ""; }),
          breaks("group_long", kNames, kInvalid, {"group"},
                 [](EntryCall& c) { c.group = name.c_str(); }),
          dtype("elasticInfo", ACL_INT64), dims("elasticInfo", {15}), dims("elasticInfo", {4, 4}),
          breaks("group_of_three", kFit, kInvalid, {"group"},
                 [three](EntryCall& c) { c.group = three; }),
          breaks("group_unknown", kFound, ACLNN_ERR_INNER, {"group"},
                 [](EntryCall& c) { c.group = "unknown"; })});
  for (std::int64_t number : {2, -1}) rules.push_back(value("sync", &M::need_sync, number));
  for (std::int64_t number : {0, 2, 8, 24, 144, 256, -16})
    rules.push_back(value("ep", &M::ep_world_size, number));
  return rules;
}

}  // namespace weft::cann
