// SPDX-License-Identifier: Apache-2.0
// The tables of the routing operators: what is null, then dtypes and what is no tensor, then shapes
// and attributes; memory last.
#include "aclnn_rules.h"

namespace weft::cann {
namespace {

enum Step { kGiven = 1, kArguments, kShapes, kMemory };
constexpr std::int64_t kTokens = 6, kExperts = 8, kH = 16;

Rule breaks(std::string name, std::set<std::string> touches, std::function<void(EntryCall&)> how) {
  return {std::move(name), kShapes, kTiling, std::move(touches), std::move(how)};
}
Rule shape(std::string name, const std::string& which, Dims dims) {
  return dims_of(std::move(name), kShapes, kTiling, which, std::move(dims));
}
Rule dtype(const std::string& which, int dtype) {
  return dtype_of(which + "_dtype_" + std::to_string(dtype), kArguments, kInvalid, which, dtype);
}
Rule overlap(const char* output, const char* input) {
  return {std::string(output) + "_overlaps_" + input,
          kMemory,
          kInvalid,
          {output, input},
          [=](EntryCall& c) { c.tensors[output].data = c.tensors[input].data; }};
}
void set_dims(EntryCall& c, std::initializer_list<const char*> names, const Dims& dims) {
  for (const char* name : names) c.tensors[name].dims = dims;
}

/// What holds for operands of every one of them: `needed` and not.
Rules common(const std::vector<std::string>& needed, const std::vector<std::string>& optional) {
  static const std::string no_handle(64, 'x');
  Rules rules = {
      {"no_workspace_size",
       kGiven,
       kNull,
       {"ws"},
       [](EntryCall& c) { c.no_workspace_size = true; }},
      {"no_executor", kGiven, kNull, {"ex"}, [](EntryCall& c) { c.no_executor = true; }}};
  std::vector<std::string> all = needed;
  all.insert(all.end(), optional.begin(), optional.end());
  for (const std::string& which : needed) rules.push_back(null(which));
  for (const std::string& which : all) {
    rules.push_back({which + "_is_no_tensor", kArguments, kInvalid, {which}, [=](EntryCall& c) {
                       c.tensors[which].handle = reinterpret_cast<const aclTensor*>(&no_handle);
                     }});
    rules.push_back(dtype(which, ACL_DOUBLE));
    rules.push_back(shape(which + "_more_axes", which, {1, 1, 1, 1, 2}));
    rules.push_back(shape(which + "_no_axes", which, {}));
    rules.push_back(change(which + "_storage", kArguments, kInvalid, which,
                           [](Described& d) { d.storage = {1}; }));
  }
  return rules;
}

}  // namespace

EntryCall gating_call() {
  EntryCall c;
  c.op = "aclnnMoeGatingTopKSoftmax";
  c.tensors["x"] = tensor(ACL_FLOAT16, {2, kTokens, kExperts});
  c.tensors["finished"] = tensor(ACL_BOOL, {2, kTokens});
  c.k = 3;
  c.tensors["yOut"] = tensor(ACL_FLOAT16, {2, kTokens, 3});
  for (const char* name : {"expertIdxOut", "rowIdxOut"})
    c.tensors[name] = tensor(ACL_INT32, {2, kTokens, 3});
  return c;
}

Rules gating_rules() {
  Rules rules = common({"x", "yOut", "expertIdxOut", "rowIdxOut"}, {"finished"});
  const std::set<std::string> all = {"x", "finished", "yOut", "expertIdxOut", "rowIdxOut", "k"};
  const auto sizes = [all](std::string name, const Dims& tokens, std::int64_t experts,
                           std::int64_t k) {
    return breaks(std::move(name), all, [=](EntryCall& c) {
      Dims x = tokens, y = tokens;
      x.push_back(experts), y.push_back(k);
      set_dims(c, {"x"}, x);
      set_dims(c, {"finished"}, tokens);
      set_dims(c, {"yOut", "expertIdxOut", "rowIdxOut"}, y);
      c.k = k;
    });
  };
  for (const std::int64_t k : {-1, 0, 4, 9})
    rules.push_back(breaks("k_" + std::to_string(k), {"k"}, [k](EntryCall& c) { c.k = k; }));
  append(rules, {sizes("k_is_0", {6}, 8, 0),
                 sizes("k_above_experts", {6}, 8, 9),
                 sizes("k_1025", {6}, 2000, 1025),
                 sizes("no_tokens", {0}, 8, 2),
                 sizes("no_tokens_3d", {2, 0}, 8, 2),
                 sizes("four_axes", {1, 2, 3}, 8, 2),
                 shape("x_1d", "x", {kExperts}),
                 shape("finished_1d", "finished", {2 * kTokens}),
                 shape("y_shape", "yOut", {2, kTokens, 2}),
                 shape("expert_2d", "expertIdxOut", {12, 3}),
                 shape("row_shape", "rowIdxOut", {kTokens, 2, 3}),
                 dtype("x", ACL_INT8),
                 dtype("yOut", ACL_INT32),
                 dtype("yOut", ACL_FLOAT),
                 dtype("finished", ACL_INT8),
                 dtype("expertIdxOut", ACL_INT64),
                 dtype("rowIdxOut", ACL_INT64),
                 change("y_strides", kShapes, kTiling, "yOut",
                        [](Described& d) {
                          d.strides = {0, 3, 1};
                        }),
                 overlap("yOut", "x"),
                 overlap("rowIdxOut", "finished")});
  return rules;
}

EntryCall init_routing_call() {
  EntryCall c;
  c.op = "aclnnMoeInitRouting";
  c.tensors["x"] = tensor(ACL_BF16, {kTokens, kH});
  for (const char* name : {"rowIdx", "expertIdx"})
    c.tensors[name] = tensor(ACL_INT32, {kTokens, 2});
  c.active_num = 4;
  c.tensors["expandedXOut"] = tensor(ACL_BF16, {8, kH});
  for (const char* name : {"expandedRowIdxOut", "expandedExpertIdxOut"})
    c.tensors[name] = tensor(ACL_INT32, {2 * kTokens});
  return c;
}

Rules init_routing_rules() {
  Rules rules = common(
      {"x", "rowIdx", "expertIdx", "expandedXOut", "expandedRowIdxOut", "expandedExpertIdxOut"},
      {});
  append(rules, {breaks("active_num", {"activeNum"}, [](EntryCall& c) { c.active_num = -1; }),
                 breaks("active_num_rows", {"activeNum"}, [](EntryCall& c) { c.active_num = 5; }),
                 shape("x_1d", "x", {kTokens * kH}),
                 shape("x_rows", "x", {kTokens + 1, kH}),
                 shape("row_k", "rowIdx", {kTokens, 3}),
                 shape("expert_1d", "expertIdx", {12}),
                 shape("x_out_rows", "expandedXOut", {12, kH}),
                 shape("x_out_columns", "expandedXOut", {8, kH + 1}),
                 shape("row_out", "expandedRowIdxOut", {8}),
                 shape("row_out_2d", "expandedRowIdxOut", {kTokens, 2}),
                 shape("expert_out", "expandedExpertIdxOut", {13}),
                 dtype("x", ACL_INT8),
                 dtype("x", ACL_FLOAT),
                 dtype("expandedXOut", ACL_FLOAT16),
                 dtype("rowIdx", ACL_INT64),
                 dtype("expertIdx", ACL_INT64),
                 dtype("expandedRowIdxOut", ACL_INT64),
                 dtype("expandedExpertIdxOut", ACL_FLOAT),
                 overlap("expandedXOut", "x"),
                 overlap("expandedRowIdxOut", "rowIdx")});
  return rules;
}

EntryCall finalize_call() {
  EntryCall c;
  c.op = "aclnnMoeFinalizeRouting";
  c.tensors["expandedX"] = tensor(ACL_FLOAT16, {2 * kTokens, kH});
  for (const char* name : {"x1", "x2", "out"}) c.tensors[name] = tensor(ACL_FLOAT16, {kTokens, kH});
  c.tensors["bias"] = tensor(ACL_FLOAT16, {kExperts, kH});
  c.tensors["scales"] = tensor(ACL_FLOAT16, {kTokens, 2});
  c.tensors["expandedRowIdx"] = tensor(ACL_INT32, {2 * kTokens});
  c.tensors["expertIdx"] = tensor(ACL_INT32, {kTokens, 2});
  return c;
}

namespace {

Rules finalize_common(const std::vector<std::string>& needed,
                      const std::vector<std::string>& optional) {
  Rules rules = common(needed, optional);
  append(rules, {shape("columns", "expandedX", {2 * kTokens, kH + 1}),
                 shape("x1_rows", "x1", {5, kH}),
                 shape("x2_columns", "x2", {kTokens, 1}),
                 shape("out_rows", "out", {kTokens - 1, kH}),
                 shape("bias_columns", "bias", {kExperts, 1}),
                 shape("bias_experts", "bias", {1, kH}),
                 shape("scales_k", "scales", {kTokens, 3}),
                 shape("scales_1d", "scales", {12}),
                 shape("experts_k", "expertIdx", {kTokens, 1}),
                 shape("rows", "expandedRowIdx", {11}),
                 shape("rows_k", "expandedRowIdx", {18}),
                 shape("rows_2d", "expandedRowIdx", {6, 2}),
                 dtype("expandedX", ACL_INT8),
                 dtype("x1", ACL_BF16),
                 dtype("x2", ACL_FLOAT),
                 dtype("bias", ACL_FLOAT),
                 dtype("scales", ACL_FLOAT),
                 dtype("out", ACL_FLOAT),
                 dtype("expandedRowIdx", ACL_INT64),
                 dtype("expertIdx", ACL_INT64),
                 overlap("out", "expandedX"),
                 overlap("out", "scales")});
  return rules;
}

}  // namespace

Rules finalize_rules() {
  Rules rules = finalize_common(
      {"expandedX", "x1", "bias", "scales", "expandedRowIdx", "expertIdx", "out"}, {"x2"});
  append(rules, {shape("fewer_rows", "expandedX", {10, kH}),
                 shape("expanded_3d", "expandedX", {kExperts, 2, kH})});
  return rules;
}

EntryCall finalize_v2_call() {
  EntryCall c = finalize_call();
  c.op = "aclnnMoeFinalizeRoutingV2";
  c.drop_pad_mode = 2;
  return c;
}

Rules finalize_v2_rules() {
  Rules rules = finalize_common({"expandedX", "expandedRowIdx", "out"},
                                {"x1", "x2", "bias", "scales", "expertIdx"});
  for (const std::int64_t mode : {-1, 1, 3, 4})
    rules.push_back(breaks("mode_" + std::to_string(mode), {"mode", "expandedX"},
                           [mode](EntryCall& c) { c.drop_pad_mode = mode; }));
  for (const char* which : {"x1", "scales", "expertIdx"})
    rules.push_back(breaks(std::string("without_") + which, {which},
                           [which](EntryCall& c) { c.tensors.erase(which); }));
  append(rules, {shape("fewer_rows", "expandedX", {10, kH}),
                 shape("expanded_3d", "expandedX", {kExperts, 2, kH})});
  return rules;
}

EntryCall finalize_padded_call() {
  EntryCall c = finalize_v2_call();
  c.drop_pad_mode = 3;
  c.tensors["expandedX"].dims = {kExperts, 2, kH};
  return c;
}

Rules finalize_padded_rules() {
  Rules rules = finalize_common({"expandedX", "expandedRowIdx", "out"}, {});
  for (const std::int64_t mode : {0, 2, 5})
    rules.push_back(breaks("mode_" + std::to_string(mode), {"mode", "expandedX"},
                           [mode](EntryCall& c) { c.drop_pad_mode = mode; }));
  append(rules, {shape("one_expert", "expandedX", {1, 20, kH}),
                 shape("expanded_2d", "expandedX", {2 * kTokens, kH})});
  return rules;
}

}  // namespace weft::cann
