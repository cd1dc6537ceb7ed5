// SPDX-License-Identifier: Apache-2.0
// The codes of first phases: every rule of CANN's tables broken alone, and every two of them
// together, where the earlier step of the table decides.
#include <cstring>
#include <optional>
#include <set>

#include "aclnn_calls.h"
#include "aclnnop/aclnn_trans_matmul_weight.h"

namespace weft::cann {
namespace {

constexpr int kOk = ACLNN_SUCCESS, kNull = ACLNN_ERR_PARAM_NULLPTR;
constexpr int kInvalid = ACLNN_ERR_PARAM_INVALID, kTiling = ACLNN_ERR_INNER_TILING_ERROR;
constexpr std::int64_t kM = 4, kK = 64, kN = 32, kHuge = std::int64_t{1} << 31;

/// Communicators with these numbers of ranks; tests are rank 0 of each.
struct World {
  CannRanks two{2}, three{3};
};

struct Rule {
  std::string name;
  int step;  ///< of the table; the lowest decides
  int code;
  /// What it changes. Rules that share one of these can't be broken together.
  std::set<std::string> touches;
  std::function<void(EntryCall&)> breaks;
};

/// Memory that first phases never look at.
void* memory() {
  static std::byte bytes[1 << 16];
  return bytes;
}

Described tensor(aclDataType dtype, Dims dims) {
  Described d(dtype, std::move(dims));
  // Apart from each other, for the rules about overlap.
  static std::uintptr_t next = 1 << 12;
  d.data = reinterpret_cast<void*>(0x7000'0000'0000 + (next += 1 << 20) * 64);
  return d;
}

using Change = std::function<void(Described&)>;
Rule change(std::string name, int step, int code, const std::string& which, Change how) {
  return {
      std::move(name), step, code, {which}, [which, how](EntryCall& c) { how(c.tensors[which]); }};
}
Rule dims_of(std::string name, int step, int code, const std::string& which, Dims dims) {
  return change(std::move(name), step, code, which, [dims](Described& d) { d.dims = dims; });
}
Rule dtype_of(std::string name, int step, int code, const std::string& which, int dtype) {
  return change(std::move(name), step, code, which,
                [dtype](Described& d) { std::memcpy(&d.dtype, &dtype, sizeof(dtype)); });
}
Rule null(const std::string& which) {
  return {which + "_null", 1, kNull, {which}, [which](EntryCall& c) { c.tensors.erase(which); }};
}
Rule add(std::string name, int step, int code, const std::string& which, Described d) {
  return {std::move(name), step, code, {which}, [=](EntryCall& c) { c.tensors[which] = d; }};
}

/// Rules of every entry point with a communicator; steps as in the table at hand.
struct Steps {
  int handle, reduce_op, reduce_op_code, stream_mode, group_length, tiling;
};
std::vector<Rule> common_rules(const World& world, const Steps& steps) {
  static const std::string long_name(128, 'g');
  static const std::string longest_name(127, 'g');
  const char* three = world.three.name();
  return {
      {"group_null", 1, kNull, {"group"}, [](EntryCall& c) { c.group = nullptr; }},
      {"group_empty", 1, kNull, {"group"}, [](EntryCall& c) { c.group = ""; }},
      {"reduce_op_null", 1, kNull, {"reduceOp"}, [](EntryCall& c) { c.reduce_op = nullptr; }},
      {"no_workspace_size", 1, kNull, {"ws"}, [](EntryCall& c) { c.no_workspace_size = true; }},
      {"no_executor", 1, kNull, {"ex"}, [](EntryCall& c) { c.no_executor = true; }},
      {"x1_is_no_tensor",
       steps.handle,
       kInvalid,
       {"x1"},
       [](EntryCall& c) { c.tensors["x1"].handle = static_cast<const aclTensor*>(memory()); }},
      {"reduce_op_max",
       steps.reduce_op,
       steps.reduce_op_code,
       {"reduceOp"},
       [](EntryCall& c) { c.reduce_op = "max"; }},
      {"reduce_op_case",
       steps.reduce_op,
       steps.reduce_op_code,
       {"reduceOp"},
       [](EntryCall& c) { c.reduce_op = "Sum"; }},
      {"reduce_op_longer",
       steps.reduce_op,
       steps.reduce_op_code,
       {"reduceOp"},
       [](EntryCall& c) { c.reduce_op = "summ"; }},
      {"stream_mode",
       steps.stream_mode,
       kInvalid,
       {"streamMode"},
       [](EntryCall& c) { c.stream_mode = 0; }},
      {"group_too_long",
       steps.group_length,
       kInvalid,
       {"group"},
       [](EntryCall& c) { c.group = long_name.c_str(); }},
      {"group_unknown",
       steps.tiling,
       kTiling,
       {"group"},
       [](EntryCall& c) { c.group = longest_name.c_str(); }},
      {"three_ranks",
       steps.tiling,
       kTiling,
       {"group", "ranks"},
       [three](EntryCall& c) { c.group = three; }},
      {"comm_turn", steps.tiling, kTiling, {"commTurn"}, [](EntryCall& c) { c.comm_turn = 1; }},
  };
}

void append(std::vector<Rule>& rules, std::vector<Rule> more) {
  for (Rule& rule : more) rules.push_back(std::move(rule));
}

/// A view of no storage.
void out_of_storage(Described& d) { d.storage = {1}; }
void fractal_nz(Described& d) {
  d.format = ACL_FORMAT_FRACTAL_NZ;
  const std::int64_t c0 = d.dtype == ACL_INT8 ? 32 : d.dtype == ACL_INT4 ? 64 : 16;
  d.storage = {(d.dims[1] + c0 - 1) / c0, (d.dims[0] + 15) / 16, 16, c0};
}

EntryCall plain_call() {
  EntryCall c;
  c.op = "aclnnMatmulAllReduceV2";
  c.tensors["x1"] = tensor(ACL_FLOAT16, {kM, kK});
  c.tensors["x2"] = tensor(ACL_FLOAT16, {kK, kN});
  c.tensors["bias"] = tensor(ACL_FLOAT16, {kN});
  c.tensors["x3"] = tensor(ACL_FLOAT16, {kM, kN});
  c.tensors["output"] = tensor(ACL_FLOAT16, {kM, kN});
  return c;
}

std::vector<Rule> plain_rules(const World& world) {
  std::vector<Rule> rules = common_rules(world, {2, 3, kInvalid, 3, 3, 6});
  append(rules, {null("x1"),
                 null("x2"),
                 null("output"),
                 dtype_of("x1_int8", 2, kInvalid, "x1", ACL_INT8),
                 dtype_of("x1_double", 2, kInvalid, "x1", ACL_DOUBLE),
                 dtype_of("x1_no_dtype", 2, kInvalid, "x1", 1234),
                 dtype_of("x2_bf16", 2, kInvalid, "x2", ACL_BF16),
                 dtype_of("bias_float", 2, kInvalid, "bias", ACL_FLOAT),
                 dtype_of("x3_bf16", 2, kInvalid, "x3", ACL_BF16),
                 dtype_of("output_bf16", 2, kInvalid, "output", ACL_BF16),
                 change("x2_nz", 4, kInvalid, "x2", fractal_nz),
                 dims_of("x2_3d", 5, kInvalid, "x2", {1, kK, kN}),
                 dims_of("x1_1d", 5, kInvalid, "x1", {kK}),
                 dims_of("x1_4d", 5, kInvalid, "x1", {1, 1, kM, kK}),
                 dims_of("x1_0d", 5, kInvalid, "x1", {}),
                 dims_of("x1_9d", 5, kInvalid, "x1", {1, 1, 1, 1, 1, 1, 1, kM, kK}),
                 dims_of("x1_negative", 5, kInvalid, "x1", {-kM, kK}),
                 dims_of("x1_k", 5, kInvalid, "x1", {kM, kK - 1}),
                 change("x1_storage", 5, kInvalid, "x1", out_of_storage),
                 dims_of("output_shape", 5, kInvalid, "output", {kM, kN + 1}),
                 dims_of("x3_shape", 5, kInvalid, "x3", {kM + 1, kN}),
                 dims_of("bias_2d", 5, kInvalid, "bias", {1, kN}),
                 dims_of("bias_length", 5, kInvalid, "bias", {kN - 1}),
                 change("x2_strides", 5, kInvalid, "x2", [](Described& d) {
                   d.strides = {2 * kN, 2};
                   d.storage = {2 * kK * kN};
                 })});
  rules.push_back({"m_0", 5, kInvalid, {"x1", "x3", "output"}, [](EntryCall& c) {
                     c.tensors["x1"].dims[0] = c.tensors["x3"].dims[0] = 0;
                     c.tensors["output"].dims[0] = 0;
                   }});
  rules.push_back({"n_0", 5, kInvalid, {"x2", "x3", "output", "bias"}, [](EntryCall& c) {
                     for (const char* name : {"x2", "x3", "output", "bias"})
                       c.tensors[name].dims.back() = 0;
                   }});
  rules.push_back({"m_huge", 6, kTiling, {"x1", "x3", "output"}, [](EntryCall& c) {
                     for (const char* name : {"x1", "x3", "output"})
                       c.tensors[name].dims[0] = kHuge;
                   }});
  return rules;
}

EntryCall quant_call() {
  EntryCall c = plain_call();
  c.op = "aclnnQuantMatmulAllReduceV3";
  c.tensors["x1"] = tensor(ACL_INT8, {kM, kK});
  c.tensors["x2"] = tensor(ACL_INT8, {kK, kN});
  c.tensors["bias"] = tensor(ACL_INT32, {kN});
  c.tensors["dequantScale"] = tensor(ACL_UINT64, {kN});
  c.tensors["commQuantScale1"] = tensor(ACL_FLOAT16, {kN});
  c.tensors["commQuantScale2"] = tensor(ACL_FLOAT16, {kN});
  return c;
}

std::vector<Rule> quant_rules(const World& world) {
  std::vector<Rule> rules = common_rules(world, {2, 3, kInvalid, 3, 3, 8});
  append(rules, {null("x1"),
                 null("x2"),
                 null("output"),
                 null("dequantScale"),
                 dtype_of("x1_fp16", 2, kInvalid, "x1", ACL_FLOAT16),
                 dtype_of("x2_int4", 2, kInvalid, "x2", ACL_INT4),
                 dtype_of("scale_int32", 2, kInvalid, "dequantScale", ACL_INT32),
                 dtype_of("scale_bf16", 2, kInvalid, "dequantScale", ACL_BF16),
                 dtype_of("bias_fp16", 2, kInvalid, "bias", ACL_FLOAT16),
                 dtype_of("x3_bf16", 2, kInvalid, "x3", ACL_BF16),
                 add("pertoken_of_64_bits", 2, kInvalid, "pertokenScale", tensor(ACL_FLOAT, {kM})),
                 dims_of("x1_1d", 4, kInvalid, "x1", {kK}),
                 dims_of("x2_3d", 6, kInvalid, "x2", {1, kK, kN}),
                 dims_of("x1_k", 6, kInvalid, "x1", {kM, kK - 1}),
                 dims_of("output_shape", 6, kInvalid, "output", {kM, kN + 1}),
                 dims_of("x3_shape", 6, kInvalid, "x3", {kM + 1, kN}),
                 dims_of("bias_length", 6, kInvalid, "bias", {kN - 1}),
                 dims_of("scale_shape", 6, kInvalid, "dequantScale", {kN, 1}),
                 null("commQuantScale1"),
                 null("commQuantScale2"),
                 dtype_of("comm_dtype", 7, kInvalid, "commQuantScale1", ACL_BF16),
                 dims_of("comm_2d", 7, kInvalid, "commQuantScale2", {1, kN}),
                 dims_of("comm_length_1", 7, kInvalid, "commQuantScale1", {kN + 1}),
                 dims_of("comm_length_2", 7, kInvalid, "commQuantScale2", {kN + 1}),
                 dtype_of("scale_float_alone", 8, kTiling, "dequantScale", ACL_FLOAT),
                 change("bias_nz", 8, kTiling, "bias", [](Described& d) {
                   d.format = ACL_FORMAT_FRACTAL_NZ;
                   d.storage = {1, 1, 16, 32};
                 })});
  for (Rule& rule : rules)
    if (rule.name == "commQuantScale1_null" || rule.name == "commQuantScale2_null") {
      rule.step = 7;
      rule.code = kInvalid;
      rule.touches.insert("pair");  // without both there is no such rule
    } else if (rule.name == "scale_float_alone") {
      rule.touches.insert("pertokenScale");  // with it there is a row
    }
  rules.push_back({"output_float", 2, kInvalid, {"output"}, [](EntryCall& c) {
                     c.tensors["output"].dtype = ACL_FLOAT;
                   }});
  rules.push_back({"m_0", 8, kTiling, {"x1", "x3", "output"}, [](EntryCall& c) {
                     for (const char* name : {"x1", "x3", "output"}) c.tensors[name].dims[0] = 0;
                   }});
  rules.push_back({"k_0", 8, kTiling, {"x1", "x2"}, [](EntryCall& c) {
                     c.tensors["x1"].dims[1] = c.tensors["x2"].dims[0] = 0;
                   }});
  rules.push_back({"k_too_large", 8, kTiling, {"x1", "x2"}, [](EntryCall& c) {
                     c.tensors["x1"].dims[1] = c.tensors["x2"].dims[0] = 65536;
                   }});
  rules.push_back(
      {"n_too_large",
       8,
       kTiling,
       {"x2", "x3", "output", "bias", "dequantScale", "commQuantScale1", "commQuantScale2"},
       [](EntryCall& c) {
         for (auto& [name, d] : c.tensors)
           if (name != "x1") d.dims.back() = 65536;
       }});
  return rules;
}

EntryCall weight_quant_call() {
  EntryCall c = plain_call();
  c.op = "aclnnWeightQuantMatmulAllReduce";
  c.tensors["x2"] = tensor(ACL_INT8, {kK, kN});
  c.tensors["antiquantScale"] = tensor(ACL_FLOAT16, {2, kN});
  c.tensors["antiquantOffset"] = tensor(ACL_FLOAT16, {2, kN});
  c.antiquant_group_size = 32;
  return c;
}

std::vector<Rule> weight_quant_rules(const World& world) {
  std::vector<Rule> rules = common_rules(world, {2, 3, kInvalid, 3, 3, 6});
  append(rules, {null("x1"), null("x2"), null("output"), null("antiquantScale"),
                 dtype_of("x1_int8", 2, kInvalid, "x1", ACL_INT8),
                 dtype_of("x2_fp16", 2, kInvalid, "x2", ACL_FLOAT16),
                 dtype_of("scale_float", 2, kInvalid, "antiquantScale", ACL_FLOAT),
                 dtype_of("offset_bf16", 2, kInvalid, "antiquantOffset", ACL_BF16),
                 dtype_of("bias_bf16", 2, kInvalid, "bias", ACL_BF16),
                 dtype_of("output_bf16", 2, kInvalid, "output", ACL_BF16),
                 dims_of("x1_k", 5, kInvalid, "x1", {kM, kK - 1}),
                 dims_of("x3_shape", 5, kInvalid, "x3", {kM + 1, kN}),
                 dims_of("bias_length", 5, kInvalid, "bias", {kN - 1}),
                 dims_of("offset_shape", 5, kInvalid, "antiquantOffset", {kN}),
                 dims_of("scale_shape", 5, kInvalid, "antiquantScale", {3, kN}),
                 change("nz_per_group", 6, kTiling, "x2", fractal_nz)});
  for (std::int64_t g : {16, 48, 64, -32})
    rules.push_back({"group_" + std::to_string(g), 3, kInvalid, {"g"}, [g](EntryCall& c) {
                       c.antiquant_group_size = g;
                     }});
  rules.push_back(
      {"group_of_one", 6, kTiling, {"antiquantScale", "antiquantOffset", "g"}, [](EntryCall& c) {
         c.tensors["antiquantScale"].dims = c.tensors["antiquantOffset"].dims = {1};
       }});
  rules.push_back({"nz_per_tensor",
                   6,
                   kTiling,
                   {"antiquantScale", "antiquantOffset", "x2", "g"},
                   [](EntryCall& c) {
                     c.antiquant_group_size = 0;
                     c.tensors["antiquantScale"].dims = c.tensors["antiquantOffset"].dims = {1};
                     fractal_nz(c.tensors["x2"]);
                   }});
  rules.push_back(
      {"nz_int4", 6, kTiling, {"antiquantScale", "antiquantOffset", "x2", "g"}, [](EntryCall& c) {
         c.antiquant_group_size = 0;
         c.tensors["antiquantScale"].dims = c.tensors["antiquantOffset"].dims = {kN};
         c.tensors["x2"].dtype = ACL_INT4;
         fractal_nz(c.tensors["x2"]);
       }});
  rules.push_back({"m_0", 6, kTiling, {"x1", "x3", "output"}, [](EntryCall& c) {
                     for (const char* name : {"x1", "x3", "output"}) c.tensors[name].dims[0] = 0;
                   }});
  rules.push_back({"k_too_large",
                   6,
                   kTiling,
                   {"x1", "x2", "antiquantScale", "antiquantOffset"},
                   [](EntryCall& c) {
                     c.tensors["x1"].dims[1] = c.tensors["x2"].dims[0] = 65536;
                     c.tensors["antiquantScale"].dims[0] = c.tensors["antiquantOffset"].dims[0] =
                         2048;
                   }});
  rules.push_back({"n_too_large",
                   6,
                   kTiling,
                   {"x2", "x3", "output", "bias", "antiquantScale", "antiquantOffset"},
                   [](EntryCall& c) {
                     for (auto& [name, d] : c.tensors)
                       if (name != "x1") d.dims.back() = 65536;
                   }});
  return rules;
}

EntryCall norm_call() {
  EntryCall c;
  c.op = "aclnnMatmulAllReduceAddRmsNorm";
  c.tensors["x1"] = tensor(ACL_FLOAT16, {kM, kK});
  c.tensors["x2"] = tensor(ACL_FLOAT16, {kK, kN});
  c.tensors["bias"] = tensor(ACL_FLOAT16, {kN});
  for (const char* name : {"residual", "y", "normOut"})
    c.tensors[name] = tensor(ACL_FLOAT16, {2, 2, kN});
  c.tensors["gamma"] = tensor(ACL_FLOAT16, {kN});
  return c;
}

EntryCall quant_norm_call() {
  EntryCall c = norm_call();
  c.op = "aclnnQuantMatmulAllReduceAddRmsNorm";
  c.tensors["x1"].dtype = c.tensors["x2"].dtype = ACL_INT8;
  c.tensors["bias"].dtype = ACL_INT32;
  c.tensors["dequantScale"] = tensor(ACL_INT64, {kN});
  return c;
}

EntryCall weight_quant_norm_call() {
  EntryCall c = norm_call();
  c.op = "aclnnWeightQuantMatmulAllReduceAddRmsNorm";
  c.tensors["x2"].dtype = ACL_INT8;
  c.tensors["antiquantScale"] = tensor(ACL_FLOAT16, {kN});
  return c;
}

/// `scale`: of the scenario, or null.
std::vector<Rule> norm_rules(const World& world, const char* scale) {
  std::vector<Rule> rules = common_rules(world, {2, 5, kTiling, 4, 4, 5});
  append(rules, {null("x1"),
                 null("x2"),
                 null("residual"),
                 null("gamma"),
                 null("y"),
                 null("normOut"),
                 dims_of("x1_0d", 2, kInvalid, "x1", {}),
                 dims_of("x2_0d", 2, kInvalid, "x2", {}),
                 dims_of("residual_0d", 2, kInvalid, "residual", {}),
                 dims_of("x1_k", 2, kInvalid, "x1", {kM, kK - 1}),
                 dims_of("residual_n", 2, kInvalid, "residual", {2, 2, kN + 1}),
                 dims_of("gamma_empty", 3, kOk, "gamma", {0}),
                 dims_of("residual_empty", 3, kOk, "residual", {0, 2, kN}),
                 dims_of("x1_empty", 3, kOk, "x1", {0, kK}),
                 dtype_of("x1_double", 5, kTiling, "x1", ACL_DOUBLE),
                 dtype_of("x1_int32", 5, kTiling, "x1", ACL_INT32),
                 dtype_of("x2_float", 5, kTiling, "x2", ACL_FLOAT),
                 dtype_of("gamma_bf16", 5, kTiling, "gamma", ACL_BF16),
                 dtype_of("residual_int8", 5, kTiling, "residual", ACL_INT8),
                 dtype_of("y_float", 5, kTiling, "y", ACL_FLOAT),
                 dims_of("residual_2d", 5, kTiling, "residual", {kM, kN}),
                 dims_of("y_2d", 5, kTiling, "y", {kM, kN}),
                 dims_of("norm_shape", 5, kTiling, "normOut", {1, kM, kN}),
                 dims_of("gamma_2d", 5, kTiling, "gamma", {1, kN}),
                 dims_of("gamma_length", 5, kTiling, "gamma", {kN - 1}),
                 dims_of("rows", 5, kTiling, "x1", {kM + 1, kK}),
                 dims_of("x1_4d", 5, kTiling, "x1", {1, 1, kM, kK}),
                 dims_of("x2_3d", 5, kTiling, "x2", {kK, 1, kN}),
                 dims_of("bias_length", 5, kTiling, "bias", {kN - 1}),
                 dtype_of("bias_double", 5, kTiling, "bias", ACL_DOUBLE),
                 change("x2_nz", 5, kTiling, "x2", fractal_nz)});
  rules.push_back({"k_0", 2, kInvalid, {"x1", "x2"}, [](EntryCall& c) {
                     c.tensors["x1"].dims[1] = c.tensors["x2"].dims[0] = 0;
                   }});
  for (double epsilon : {0.0, 1.0, -1e-6, 1e-60})
    rules.push_back(
        {"epsilon_" + std::to_string(epsilon), 5, kTiling, {"epsilon"}, [epsilon](EntryCall& c) {
           c.epsilon = epsilon;
         }});
  if (!scale) return rules;
  append(rules, {null(scale), dims_of("scale_shape", 5, kTiling, scale, {kN, 1}),
                 dtype_of("scale_int32", 5, kTiling, scale, ACL_INT32),
                 dims_of("scale_empty", 3, kOk, scale, {0})});
  return rules;
}

EntryCall scatter_call() {
  EntryCall c;
  c.op = "aclnnMatmulReduceScatter";
  c.tensors["x1"] = tensor(ACL_FLOAT16, {kM, 256});
  c.tensors["x2"] = tensor(ACL_FLOAT16, {256, kN});
  c.tensors["bias"] = tensor(ACL_FLOAT16, {kN});
  c.tensors["output"] = tensor(ACL_FLOAT16, {kM / 2, kN});
  return c;
}

std::vector<Rule> scatter_rules(const World& world) {
  std::vector<Rule> rules = common_rules(world, {2, 7, kTiling, 3, 6, 7});
  append(rules,
         {null("x1"), null("x2"), null("output"), dtype_of("x1_int8", 2, kInvalid, "x1", ACL_INT8),
          dtype_of("x2_bf16", 2, kInvalid, "x2", ACL_BF16),
          dtype_of("bias_float", 2, kInvalid, "bias", ACL_FLOAT),
          dtype_of("output_bf16", 2, kInvalid, "output", ACL_BF16),
          dims_of("k_0", 4, kInvalid, "x1", {kM, 0}), dims_of("x1_empty", 5, kOk, "x1", {0, 256}),
          dims_of("x2_empty", 5, kOk, "x2", {256, 0}),
          dims_of("x1_3d", 6, kInvalid, "x1", {1, kM, 256}),
          dims_of("x2_3d", 6, kInvalid, "x2", {256, 1, kN}),
          change("x1_transposed", 6, kInvalid, "x1",
                 [](Described& d) {
                   d.strides = {1, kM};
                 }),
          dims_of("x1_k", 6, kInvalid, "x1", {kM, 257}),
          dims_of("output_n", 6, kInvalid, "output", {kM / 2, kN + 1}),
          dims_of("bias_length", 6, kInvalid, "bias", {kN - 1}),
          change("x2_nz", 7, kTiling, "x2", fractal_nz)});
  for (Rule& rule : rules)
    if (rule.name == "three_ranks") {
      // Three do not divide kM, which comes before their number.
      rule.touches.insert({"x1", "output"});
      rule.breaks = [name = world.three.name()](EntryCall& c) {
        c.group = name;
        c.tensors["x1"].dims[0] = 6;
        c.tensors["output"].dims[0] = 2;
      };
    }
  // These need to know how many ranks there are.
  rules.push_back({"output_rows", 6, kInvalid, {"output", "ranks", "group"}, [](EntryCall& c) {
                     c.tensors["output"].dims[0] = kM;
                   }});
  rules.push_back({"m_odd", 6, kInvalid, {"x1", "ranks", "group"}, [](EntryCall& c) {
                     c.tensors["x1"].dims[0] = kM + 1;
                   }});
  for (std::int64_t k : {1, 255, 65535})
    rules.push_back({"k_" + std::to_string(k), 6, kInvalid, {"x1", "x2"}, [k](EntryCall& c) {
                       c.tensors["x1"].dims[1] = c.tensors["x2"].dims[0] = k;
                     }});
  return rules;
}

class Codes : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    world_.emplace();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  }
  void TearDown() override {
    world_.reset();
    RuntimeTest::TearDown();
  }

  int code_of(const EntryCall& call) {
    uint64_t size = 77;
    aclOpExecutor* executor = nullptr;
    const int code = first_phase(call, &size, &executor);
    if (code == ACLNN_SUCCESS) {
      empty_ = size == 0;
      EXPECT_EQ(aclDestroyAclOpExecutor(executor), ACLNN_SUCCESS);
    }
    return code;
  }
  void expect(const EntryCall& call, int code, const std::string& what) {
    const int found = code_of(call);
    EXPECT_EQ(found, code) << call.op << ": " << what << "\n" << text();
    EXPECT_TRUE(found != kOk || code != kOk || empty_) << what;
  }
  void check_all(EntryCall base, const std::vector<Rule>& rules) {
    base.group = world_->two.name();
    ASSERT_EQ(code_of(base), ACLNN_SUCCESS) << text();
    EXPECT_FALSE(empty_);
    for (const Rule& rule : rules) {
      EntryCall call = base;
      rule.breaks(call);
      expect(call, rule.code, rule.name);
      EXPECT_EQ(rule.code == kOk, text().empty()) << rule.name;
    }
    for (const Rule& a : rules)
      for (const Rule& b : rules) {
        if (&a >= &b || share(a, b)) continue;
        EntryCall call = base;
        a.breaks(call);
        b.breaks(call);
        expect(call, a.step <= b.step ? a.code : b.code, a.name + " and " + b.name);
      }
  }

  static bool share(const Rule& a, const Rule& b) {
    for (const std::string& what : a.touches)
      if (b.touches.contains(what)) return true;
    return false;
  }

  std::optional<World> world_;
  bool empty_ = false;
};

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

TEST_F(Codes, InplaceFormsAndOtherVersionsFollowTheSameTables) {
  for (EntryCall base : {norm_call(), quant_norm_call(), weight_quant_norm_call()}) {
    base.op.insert(5, "Inplace");
    base.tensors.erase("y");
    std::vector<Rule> rules = norm_rules(*world_, nullptr);
    std::erase_if(rules, [](const Rule& rule) { return rule.touches.contains("y"); });
    if (base.tensors.contains("antiquantScale"))  // float16 by itself is a row of the plain form
      std::erase_if(rules, [](const Rule& rule) { return rule.name == "x2_float"; });
    check_all(base, rules);
  }
  EntryCall first = plain_call();
  first.op = "aclnnMatmulAllReduce";
  std::vector<Rule> rules = plain_rules(*world_);
  std::erase_if(rules, [](const Rule& rule) { return rule.name.starts_with("x3"); });
  check_all(first, rules);
  for (const char* version : {"", "V2", "V4"}) {
    EntryCall quant = quant_call();
    quant.op = std::string("aclnnQuantMatmulAllReduce") + version;
    std::vector<Rule> of_quant = quant_rules(*world_);
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
  std::vector<Rule> of_scatter = scatter_rules(*world_);
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
