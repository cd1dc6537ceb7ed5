// SPDX-License-Identifier: Apache-2.0
// The tables of aclnnFFN and its versions. The first step of a table that fails decides, so an
// unknown activation counts before what is null.
#include "aclnn_rules.h"

namespace weft::cann {
namespace {

constexpr std::int64_t kE = 2;
enum Step { kActivation = 1, kGiven, kArguments, kEmpty, kPlan, kMemory };
constexpr int kPlanning = ACLNN_ERR_INNER_NULLPTR;

Rule wrong(Rule rule) {
  rule.step = kArguments;
  rule.code = kInvalid;
  return rule;
}
Rule dims_of(std::string name, const std::string& which, Dims dims) {
  return cann::dims_of(std::move(name), kArguments, kInvalid, which, std::move(dims));
}
Rule dtype_of(std::string name, const std::string& which, int dtype) {
  return cann::dtype_of(std::move(name), kArguments, kInvalid, which, dtype);
}
Rule added(const std::string& which, aclDataType dtype, Dims dims) {
  return add(which + "_given", kArguments, kInvalid, which, tensor(dtype, std::move(dims)));
}
Rule left_out(const std::string& which) { return wrong(null(which)); }
/// Of several operands or attributes.
Rule breaks(std::string name, int step, int code, std::set<std::string> touches,
            std::function<void(EntryCall&)> how) {
  return {std::move(name), step, code, std::move(touches), std::move(how)};
}
Rule breaks(std::string name, std::set<std::string> touches, std::function<void(EntryCall&)> how) {
  return breaks(std::move(name), kArguments, kInvalid, std::move(touches), std::move(how));
}
Rule activation(const char* name, int step, int code) {
  return breaks(name ? std::string("activation_") + name : "activation_null", step, code,
                {"activation"}, [name](EntryCall& c) { c.activation = name; });
}
Rule inner_precise(std::int64_t value, int step, int code) {
  return breaks("inner_precise_" + std::to_string(value), step, code, {"inner"},
                [value](EntryCall& c) { c.inner_precise = value; });
}
Rule tokens(std::string name, std::optional<Dims> values) {
  return breaks(std::move(name), {"expertTokens"},
                [values = std::move(values)](EntryCall& c) { c.expert_tokens = values; });
}
void set_dims(EntryCall& c, std::initializer_list<const char*> names, const Dims& dims) {
  for (const char* name : names) c.tensors[name].dims = dims;
}

/// The rules that a call of every kind has.
Rules common(const EntryCall& base) {
  static const std::string no_handle(64, 'x');
  Rules rules = {activation(nullptr, kActivation, kNull), activation("tanh", kActivation, kInvalid),
                 activation("relu ", kActivation, kInvalid), activation("", kActivation, kInvalid)};
  for (const char* which : {"x", "weight1", "weight2", "y"}) {
    rules.push_back(null(which));
    rules.back().step = kGiven;
    rules.push_back(breaks(std::string(which) + "_is_no_tensor", {which}, [which](EntryCall& c) {
      c.tensors[which].handle = reinterpret_cast<const aclTensor*>(&no_handle);
    }));
    rules.push_back(change(std::string(which) + "_nz", kArguments, kInvalid, which,
                           [](Described& d) { d.format = ACL_FORMAT_FRACTAL_NZ; }));
  }
  append(rules,
         {breaks("no_workspace_size", kGiven, kNull, {"ws"},
                 [](EntryCall& c) { c.no_workspace_size = true; }),
          breaks("no_executor", kGiven, kNull, {"ex"}, [](EntryCall& c) { c.no_executor = true; }),
          dims_of("x_1d", "x", {kK}), dims_of("x_0d", "x", {}),
          dims_of("x_9d", "x", {1, 1, 1, 1, 1, 1, 1, kM, kK}), dims_of("x_k", "x", {kM, kK - 1}),
          dims_of("y_rank", "y", {1, kM, kK}), dims_of("y_rows", "y", {kM + 1, kK}),
          dims_of("y_columns", "y", {kM, kK + 1}), dtype_of("x_float", "x", ACL_FLOAT),
          dtype_of("x_no_dtype", "x", 63), dtype_of("y_float", "y", ACL_FLOAT),
          dtype_of("weight1_float", "weight1", ACL_FLOAT),
          change("x_storage", kArguments, kInvalid, "x", [](Described& d) { d.storage = {1}; }),
          change("y_strides", kArguments, kInvalid, "y", [](Described& d) {
            d.strides = {0, 1};
          })});
  if (!base.expert_tokens) rules.push_back(tokens("tokens_of_a_dense_call", Dims{kM}));
  rules.push_back(breaks("empty", kEmpty, kOk, {"x", "y", "expertTokens"}, [](EntryCall& c) {
    set_dims(c, {"x", "y"}, {0, kK});
    if (c.expert_tokens) c.expert_tokens = Dims(c.expert_tokens->size(), 0);
  }));
  rules.push_back(breaks("y_overlaps", kMemory, kInvalid, {"x", "y"},
                         [](EntryCall& c) { c.tensors["y"].data = c.tensors["x"].data; }));
  return rules;
}

void of_depth(EntryCall& c, std::int64_t k) {
  for (const char* name : {"x", "weight2", "y", "bias2"}) c.tensors[name].dims.back() = k;
  Dims& first = c.tensors["weight1"].dims;
  first[first.size() - 2] = k;
}

EntryCall base(aclDataType x, aclDataType weight, aclDataType bias, aclDataType y) {
  EntryCall c;
  c.op = "aclnnFFN";
  c.tensors["x"] = tensor(x, {kM, kK});
  c.tensors["weight1"] = tensor(weight, {kK, kN});
  c.tensors["weight2"] = tensor(weight, {kN, kK});
  c.tensors["bias1"] = tensor(bias, {kN});
  c.tensors["bias2"] = tensor(bias, {kK});
  c.tensors["y"] = tensor(y, {kM, kK});
  return c;
}

}  // namespace

EntryCall ffn_call() { return base(ACL_FLOAT16, ACL_FLOAT16, ACL_FLOAT16, ACL_FLOAT16); }

Rules ffn_rules() {
  Rules rules = common(ffn_call());
  for (int format :
       {ACL_FORMAT_NC1HWC0, ACL_FORMAT_FRACTAL_Z, ACL_FORMAT_NC1HWC0_C04, ACL_FORMAT_NDC1HWC0,
        ACL_FRACTAL_Z_3D, ACL_FORMAT_FRACTAL_NZ_C0_16, ACL_FORMAT_FRACTAL_NZ_C0_32})
    rules.push_back(change("x_format_" + std::to_string(format), kArguments, kInvalid, "x",
                           [format](Described& d) { d.format = static_cast<aclFormat>(format); }));
  append(rules, {activation("swiglu", kArguments, kInvalid),
                 inner_precise(2, kPlan, kPlanning),
                 inner_precise(-1, kPlan, kPlanning),
                 dims_of("weight1_3d", "weight1", {1, kK, kN}),
                 dims_of("weight2_1d", "weight2", {kN}),
                 dims_of("weight2_k", "weight2", {kN + 1, kK}),
                 dims_of("bias1_2d", "bias1", {1, kN}),
                 dims_of("bias1_length", "bias1", {kN + 1}),
                 dims_of("bias2_length", "bias2", {kK - 1}),
                 dtype_of("bias1_float", "bias1", ACL_FLOAT),
                 dtype_of("bias2_bf16", "bias2", ACL_BF16),
                 dtype_of("x_int8", "x", ACL_INT8),
                 dtype_of("x_bf16", "x", ACL_BF16),
                 dtype_of("y_bf16", "y", ACL_BF16),
                 dtype_of("weight1_bf16", "weight1", ACL_BF16),
                 added("scale", ACL_FLOAT, {1}),
                 added("offset", ACL_FLOAT, {1}),
                 added("deqScale1", ACL_UINT64, {kN}),
                 added("deqScale2", ACL_FLOAT, {kK}),
                 added("antiquantScale1", ACL_FLOAT16, {kN}),
                 added("antiquantScale2", ACL_FLOAT16, {kK}),
                 added("antiquantOffset1", ACL_FLOAT16, {kN}),
                 added("antiquantOffset2", ACL_FLOAT16, {kK}),
                 tokens("tokens_sum", Dims{kM - 1}),
                 breaks("weights_bf16", {"weight1", "weight2"},
                        [](EntryCall& c) {
                          c.tensors["weight1"].dtype = c.tensors["weight2"].dtype = ACL_BF16;
                        }),
                 breaks("k1_large", {"x", "weight1", "weight2", "bias2", "y"},
                        [](EntryCall& c) { of_depth(c, 65536); }),
                 breaks("k2_large", {"weight1", "weight2", "bias1"},
                        [](EntryCall& c) {
                          c.tensors["weight1"].dims[1] = c.tensors["weight2"].dims[0] = 65536;
                          c.tensors["bias1"].dims[0] = 65536;
                        }),
                 breaks("n2_is_not_k1", {"weight2", "bias2", "y"},
                        [](EntryCall& c) {
                          for (const char* name : {"weight2", "bias2", "y"})
                            c.tensors[name].dims.back() = kK / 2;
                        }),
                 breaks("m_large", kPlan, kPlanning, {"x", "y"}, [](EntryCall& c) {
                   set_dims(c, {"x", "y"}, {2147483632 + 1, kK});
                 })});
  return rules;
}

EntryCall ffn_gate_call() {
  EntryCall c = ffn_call();
  c.activation = "swiglu";
  c.tensors["weight2"].dims[0] = kN / 2;
  return c;
}

Rules ffn_gate_rules() {
  Rules rules = common(ffn_gate_call());
  append(rules,
         {activation("silu", kArguments, kInvalid), inner_precise(0, kArguments, kInvalid),
          inner_precise(2, kArguments, kInvalid), dims_of("weight2_k", "weight2", {kN - 1, kK}),
          dtype_of("bias2_float", "bias2", ACL_FLOAT), dtype_of("y_bf16", "y", ACL_BF16),
          added("scale", ACL_FLOAT, {1}), added("deqScale1", ACL_UINT64, {kN}),
          added("antiquantScale2", ACL_FLOAT16, {kK}),
          breaks("odd_n1", {"weight1", "weight2", "bias1"},
                 [](EntryCall& c) {
                   c.tensors["weight1"].dims[1] = c.tensors["bias1"].dims[0] = kN - 1;
                   c.tensors["weight2"].dims[0] = kN / 2 - 1;
                 }),
          breaks("experts", {"expertTokens", "weight1", "weight2", "bias1", "bias2"},
                 [](EntryCall& c) {
                   for (const char* name : {"weight1", "weight2", "bias1", "bias2"})
                     c.tensors[name].dims.insert(c.tensors[name].dims.begin(), 1);
                   c.expert_tokens = Dims{kM};
                 }),
          breaks("bf16", {"x", "weight1", "weight2", "bias1", "bias2", "y", "inner"},
                 [](EntryCall& c) {
                   for (auto& [name, d] : c.tensors) d.dtype = ACL_BF16;
                   for (const char* name : {"bias1", "bias2"}) c.tensors[name].dtype = ACL_FLOAT;
                   c.inner_precise = 0;
                 }),
          breaks("int8_weights",
                 {"weight1", "weight2", "antiquantScale1", "antiquantScale2", "antiquantOffset1",
                  "antiquantOffset2"},
                 [](EntryCall& c) {
                   c.tensors["weight1"].dtype = c.tensors["weight2"].dtype = ACL_INT8;
                   for (const char* name : {"antiquantScale1", "antiquantOffset1"})
                     c.tensors[name] = tensor(ACL_FLOAT16, {kN});
                   for (const char* name : {"antiquantScale2", "antiquantOffset2"})
                     c.tensors[name] = tensor(ACL_FLOAT16, {kK});
                 }),
          breaks("n2_is_not_k1", {"weight2", "bias2", "y"}, [](EntryCall& c) {
            for (const char* name : {"weight2", "bias2", "y"}) c.tensors[name].dims.back() = kK / 2;
          })});
  return rules;
}

EntryCall ffn_experts_call() {
  EntryCall c = base(ACL_BF16, ACL_BF16, ACL_FLOAT, ACL_BF16);
  c.op = "aclnnFFNV2";
  c.inner_precise = 0;
  for (const char* name : {"weight1", "weight2", "bias1", "bias2"})
    c.tensors[name].dims.insert(c.tensors[name].dims.begin(), kE);
  c.expert_tokens = Dims{1, kM - 1};
  c.tensors["expertTokens"] = tensor(ACL_INT64, {kE});  // of V3
  return c;
}

Rules ffn_experts_rules() {
  static const std::string no_handle(64, 'x');
  Rules rules = common(ffn_experts_call());
  append(rules, {activation("swiglu", kArguments, kInvalid),
                 inner_precise(1, kArguments, kInvalid),
                 inner_precise(7, kArguments, kInvalid),
                 tokens("tokens_null", {}),
                 tokens("tokens_empty", Dims{}),
                 tokens("tokens_short", Dims{1, kM - 2}),
                 tokens("tokens_beyond", Dims{1, kM}),
                 tokens("tokens_negative", Dims{-1, kM + 1}),
                 tokens("tokens_huge", Dims{INT64_MAX, INT64_MAX}),
                 tokens("tokens_of_three", {{1, 1, 2}}),
                 breaks("ends_short", {"expertTokens"},
                        [](EntryCall& c) {
                          c.tokens_are_ends = true;
                          c.expert_tokens = Dims{1, kM - 1};
                        }),
                 breaks("ends_fall", {"expertTokens"},
                        [](EntryCall& c) {
                          c.tokens_are_ends = true;
                          c.expert_tokens = Dims{kM + 1, kM};
                        }),
                 breaks("tokens_are_no_array", {"expertTokens"},
                        [](EntryCall& c) {
                          c.expert_tokens.reset();
                          c.token_handle = reinterpret_cast<const aclIntArray*>(&no_handle);
                        }),
                 dims_of("weight1_2d", "weight1", {kK, kN}),
                 dims_of("weight1_experts", "weight1", {kE + 1, kK, kN}),
                 dims_of("weight2_experts", "weight2", {kE - 1, kN, kK}),
                 dims_of("bias1_1d", "bias1", {kN}),
                 dims_of("bias1_experts", "bias1", {kE + 1, kN}),
                 dims_of("bias2_length", "bias2", {kE, kN}),
                 dtype_of("bias1_bf16", "bias1", ACL_BF16),
                 dtype_of("bias2_float16", "bias2", ACL_FLOAT16),
                 dtype_of("y_float16", "y", ACL_FLOAT16),
                 breaks("experts_257", kPlan, kPlanning,
                        {"expertTokens", "weight1", "weight2", "bias1", "bias2"}, [](EntryCall& c) {
                          for (const char* name : {"weight1", "weight2", "bias1", "bias2"})
                            c.tensors[name].dims[0] = 257;
                          c.expert_tokens = Dims(257, 0);
                          c.expert_tokens->back() = kM;
                          c.tensors["expertTokens"].dims[0] = 257;
                        })});
  return rules;
}

EntryCall ffn_quant_call() {
  EntryCall c = base(ACL_INT8, ACL_INT8, ACL_INT32, ACL_FLOAT16);
  c.tensors["scale"] = tensor(ACL_FLOAT, {1});
  c.tensors["offset"] = tensor(ACL_FLOAT, {1});
  c.tensors["deqScale1"] = tensor(ACL_UINT64, {kN});
  c.tensors["deqScale2"] = tensor(ACL_UINT64, {kK});
  return c;
}

Rules ffn_quant_rules() {
  Rules rules = common(ffn_quant_call());
  append(rules, {left_out("scale"),
                 left_out("offset"),
                 left_out("deqScale1"),
                 left_out("deqScale2"),
                 activation("geglu", kArguments, kInvalid),
                 inner_precise(2, kPlan, kPlanning),
                 dtype_of("scale_fp16", "scale", ACL_FLOAT16),
                 dtype_of("offset_bf16", "offset", ACL_BF16),
                 dtype_of("deq_scale1_int64", "deqScale1", ACL_INT64),
                 dtype_of("deq_scale2_float", "deqScale2", ACL_FLOAT),
                 dtype_of("bias1_float", "bias1", ACL_FLOAT),
                 dtype_of("bias2_fp16", "bias2", ACL_FLOAT16),
                 dtype_of("y_bf16", "y", ACL_BF16),
                 dims_of("scale_length", "scale", {kN - 1}),
                 dims_of("scale_2d", "scale", {1, kN}),
                 dims_of("offset_length", "offset", {kN}),
                 dims_of("deq_scale1_2d", "deqScale1", {1, kN}),
                 dims_of("deq_scale1_length", "deqScale1", {1}),
                 dims_of("deq_scale2_length", "deqScale2", {kN}),
                 dims_of("bias1_2d", "bias1", {1, kN}),
                 added("antiquantScale1", ACL_FLOAT16, {kN}),
                 added("antiquantOffset2", ACL_FLOAT16, {kK}),
                 breaks("deq_scales_bf16", {"deqScale1", "deqScale2", "y"},
                        [](EntryCall& c) {
                          c.tensors["deqScale1"].dtype = c.tensors["deqScale2"].dtype = ACL_BF16;
                        }),
                 breaks("float_per_channel", {"scale", "deqScale1", "deqScale2"},
                        [](EntryCall& c) {
                          c.tensors["deqScale1"].dtype = c.tensors["deqScale2"].dtype = ACL_FLOAT;
                          c.tensors["scale"].dims = {kN};
                        }),
                 breaks("k1_large", {"x", "weight1", "weight2", "bias2", "y", "deqScale2"},
                        [](EntryCall& c) {
                          of_depth(c, 65536);
                          c.tensors["deqScale2"].dims = {65536};
                        }),
                 breaks("m_large", kPlan, kPlanning, {"x", "y"}, [](EntryCall& c) {
                   set_dims(c, {"x", "y"}, {2147483616 + 1, kK});
                 })});
  return rules;
}

EntryCall ffn_antiquant_call() {
  EntryCall c = base(ACL_FLOAT16, ACL_INT4, ACL_FLOAT16, ACL_FLOAT16);
  for (const char* name : {"antiquantScale1", "antiquantOffset1"})
    c.tensors[name] = tensor(ACL_FLOAT16, {2, kN});
  for (const char* name : {"antiquantScale2", "antiquantOffset2"})
    c.tensors[name] = tensor(ACL_FLOAT16, {4, kK});
  return c;
}

Rules ffn_antiquant_rules() {
  const std::set<std::string> all = {"antiquantScale1", "antiquantOffset1", "antiquantScale2",
                                     "antiquantOffset2"};
  Rules rules = common(ffn_antiquant_call());
  for (const std::string& name : all) rules.push_back(left_out(name));
  append(
      rules,
      {activation("reglu", kArguments, kInvalid), inner_precise(3, kPlan, kPlanning),
       dtype_of("scale1_bf16", "antiquantScale1", ACL_BF16),
       dtype_of("offset2_float", "antiquantOffset2", ACL_FLOAT),
       dtype_of("bias1_float", "bias1", ACL_FLOAT), dtype_of("y_bf16", "y", ACL_BF16),
       dtype_of("weight2_int8", "weight2", ACL_INT8),
       dims_of("offset1_shape", "antiquantOffset1", {1, kN}),
       dims_of("scale2_columns", "antiquantScale2", {4, kN}), added("scale", ACL_FLOAT, {1}),
       added("deqScale2", ACL_UINT64, {kK}),
       breaks("groups", {"antiquantScale1", "antiquantOffset1"},
              [](EntryCall& c) {
                set_dims(c, {"antiquantScale1", "antiquantOffset1"}, {3, kN});
              }),
       breaks("no_groups", {"antiquantScale2", "antiquantOffset2"},
              [](EntryCall& c) {
                set_dims(c, {"antiquantScale2", "antiquantOffset2"}, {0, kK});
              }),
       breaks("ranks_differ", {"antiquantScale2", "antiquantOffset2"},
              [](EntryCall& c) {
                set_dims(c, {"antiquantScale2", "antiquantOffset2"}, {kK});
              }),
       breaks("per_tensor", all,
              [all](EntryCall& c) {
                for (const std::string& name : all) c.tensors[name].dims = {1};
              }),
       breaks("int8_per_group", {"weight1", "weight2"},
              [](EntryCall& c) {
                c.tensors["weight1"].dtype = c.tensors["weight2"].dtype = ACL_INT8;
              }),
       breaks("odd_n1",
              {"weight1", "weight2", "bias1", "antiquantScale1", "antiquantOffset1",
               "antiquantScale2", "antiquantOffset2"},
              [](EntryCall& c) {
                for (const char* name : {"weight1", "bias1", "antiquantScale1", "antiquantOffset1"})
                  c.tensors[name].dims.back() = kN - 1;
                c.tensors["weight1"].strides = {1, kK};  // which weft itself would take
                c.tensors["weight2"].dims[0] = kN - 1;
                set_dims(c, {"antiquantScale2", "antiquantOffset2"}, {1, kK});
              }),
       breaks("padded_int4", {"weight1"},
              [](EntryCall& c) {
                c.tensors["weight1"].strides = {kN + 2, 1};
                c.tensors["weight1"].storage = {kK * (kN + 2)};
              }),
       breaks("strided_int4", {"weight2"}, [](EntryCall& c) {
         c.tensors["weight2"].strides = {2 * kK, 2};
         c.tensors["weight2"].storage = {2 * kK * kN};
       })});
  return rules;
}

}  // namespace weft::cann
