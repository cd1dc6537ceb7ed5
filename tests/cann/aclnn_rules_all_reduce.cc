// SPDX-License-Identifier: Apache-2.0
// The tables of the AllReduce entry points.
#include "aclnn_rules.h"

namespace weft::cann {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 31;

/// A view of no storage.
void out_of_storage(Described& d) { d.storage = {1}; }

}  // namespace

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

Rules plain_rules(const World& world) {
  Rules rules = common_rules(world, {2, 3, kInvalid, 3, 3, 6});
  append(rules, {null("x1"),
                 null("x2"),
                 null("output"),
                 dtype_of("x1_int8", 2, kInvalid, "x1", ACL_INT8),
                 dtype_of("x1_double", 2, kInvalid, "x1", ACL_DOUBLE),
                 dtype_of("x1_no_dtype", 2, kInvalid, "x1", 63),
                 dtype_of("x2_bf16", 2, kInvalid, "x2", ACL_BF16),
                 dtype_of("bias_float", 2, kInvalid, "bias", ACL_FLOAT),
                 dtype_of("x3_bf16", 2, kInvalid, "x3", ACL_BF16),
                 dtype_of("output_bf16", 2, kInvalid, "output", ACL_BF16),
                 change("x2_nz", 4, kInvalid, "x2", make_fractal_nz),
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

Rules quant_rules(const World& world) {
  Rules rules = common_rules(world, {2, 3, kInvalid, 3, 3, 8});
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

Rules weight_quant_rules(const World& world) {
  Rules rules = common_rules(world, {2, 3, kInvalid, 3, 3, 6});
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
                 change("nz_per_group", 6, kTiling, "x2", make_fractal_nz)});
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
                     make_fractal_nz(c.tensors["x2"]);
                   }});
  rules.push_back(
      {"nz_int4", 6, kTiling, {"antiquantScale", "antiquantOffset", "x2", "g"}, [](EntryCall& c) {
         c.antiquant_group_size = 0;
         c.tensors["antiquantScale"].dims = c.tensors["antiquantOffset"].dims = {kN};
         c.tensors["x2"].dtype = ACL_INT4;
         make_fractal_nz(c.tensors["x2"]);
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

}  // namespace weft::cann
