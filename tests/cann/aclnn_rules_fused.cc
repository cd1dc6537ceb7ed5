// SPDX-License-Identifier: Apache-2.0
// The tables of the entry points with AddRmsNorm and of ReduceScatter.
#include "aclnn_rules.h"

namespace weft::cann {

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

Rules norm_rules(const World& world, const char* scale) {
  Rules rules = common_rules(world, {2, 5, kTiling, 4, 4, 5});
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
                 change("x2_nz", 5, kTiling, "x2", make_fractal_nz)});
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

Rules scatter_rules(const World& world) {
  Rules rules = common_rules(world, {2, 7, kTiling, 3, 6, 7});
  append(rules,
         {null("x1"), null("x2"), null("output"), dtype_of("x1_int8", 2, kInvalid, "x1", ACL_INT8),
          dtype_of("x2_bf16", 2, kInvalid, "x2", ACL_BF16),
          dtype_of("bias_float", 2, kInvalid, "bias", ACL_FLOAT),
          dtype_of("output_bf16", 2, kInvalid, "output", ACL_BF16),
          dims_of("k_0", 4, kInvalid, "x1", {kM, 0}), dims_of("x1_empty", 5, kOk, "x1", {0, 256}),
          dims_of("x2_empty", 5, kOk, "x2", {256, 0}), dims_of("x1_0d", 4, kInvalid, "x1", {}),
          dims_of("x1_1d", 6, kInvalid, "x1", {256}),
          dims_of("x1_3d", 6, kInvalid, "x1", {1, kM, 256}),
          dims_of("x2_3d", 6, kInvalid, "x2", {256, 1, kN}),
          change("x1_transposed", 6, kInvalid, "x1",
                 [](Described& d) {
                   d.strides = {1, kM};
                 }),
          dims_of("x1_k", 6, kInvalid, "x1", {kM, 257}),
          dims_of("output_n", 6, kInvalid, "output", {kM / 2, kN + 1}),
          dims_of("bias_length", 6, kInvalid, "bias", {kN - 1}),
          change("x2_nz", 7, kTiling, "x2", make_fractal_nz)});
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

}  // namespace weft::cann
