// SPDX-License-Identifier: Apache-2.0
#include "aclnn_rules.h"

#include <cstring>

namespace weft::cann {

Described tensor(aclDataType dtype, Dims dims) {
  Described d(dtype, std::move(dims));
  // Apart from each other, for the rules about overlap.
  static std::uintptr_t next = 1 << 12;
  d.data = reinterpret_cast<void*>(0x7000'0000'0000 + (next += 1 << 20) * 64);
  return d;
}

void make_fractal_nz(Described& d) {
  d.format = ACL_FORMAT_FRACTAL_NZ;
  const std::int64_t c0 = d.dtype == ACL_INT8 ? 32 : d.dtype == ACL_INT4 ? 64 : 16;
  d.storage = {(d.dims[1] + c0 - 1) / c0, (d.dims[0] + 15) / 16, 16, c0};
}

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

void append(Rules& rules, Rules more) {
  for (Rule& rule : more) rules.push_back(std::move(rule));
}

Rules common_rules(const World& world, const Steps& steps) {
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
       [](EntryCall& c) {
         c.tensors["x1"].handle = reinterpret_cast<const aclTensor*>(&long_name);
       }},
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

}  // namespace weft::cann
