// SPDX-License-Identifier: Apache-2.0
// Calls of mixtures for random programs: mostly what the entry points take.
#pragma once

#include <functional>
#include <random>

#include "aclnn_calls.h"

namespace weft::cann {

/// Of two ranks with two experts each. `operand` makes memory for what it is told, mostly; `group`
/// is of two ranks.
inline void describe_moe(EntryCall& call, std::mt19937_64& random, const char* group,
                         const std::function<Described(int, Dims)>& operand) {
  const auto seldom = [&random] { return random() % 32 == 0; };
  const auto small = [&random](int end) {
    return static_cast<std::int64_t>(random() % static_cast<unsigned>(end));
  };
  const int io = random() % 2 ? ACL_BF16 : ACL_FLOAT16, out = random() % 2 ? ACL_BF16 : io;
  const bool norm = call.op.find("Norm") != std::string::npos;
  const bool combine = call.op.find("Combine") != std::string::npos, int8 = random() % 4 == 0;
  const bool reset = call.op.find("Reset") != std::string::npos;
  const int rows = norm ? ACL_BF16 : combine ? out : int8 ? ACL_INT8 : io;
  auto& t = call.tensors;
  t.clear();
  t["x"] = operand(io, {2, 1024});
  t["expertIds"] = operand(ACL_INT32, {2, 1});  // zeros
  t["expertScales"] = operand(ACL_FLOAT, {2, 1});
  if (int8 && random() % 2) t["scales"] = operand(ACL_FLOAT, {4, 1024});
  if (random() % 4 == 0) t["xActiveMask"] = operand(ACL_BOOL, {2});
  t["expandX"] = operand(rows, {4, 1024});
  t["dynamicScales"] = operand(ACL_FLOAT, {4});
  t["assistInfoForCombine"] = operand(ACL_INT32, {512});
  t["expandIdx"] = operand(ACL_INT32, {2});
  t["expertTokenNums"] = operand(ACL_INT64, {2});
  t["epRecvCounts"] = t["epSendCounts"] = operand(ACL_INT32, {4});
  t["tpRecvCounts"] = t["tpSendCounts"] = operand(ACL_INT32, {0});
  if (random() % 4 == 0) t["sharedExpertX"] = operand(rows, {2, 1024});
  if (reset || random() % 8 == 0) t["elasticInfo"] = operand(ACL_INT32, {reset ? 16 : 8});
  if (random() % 2) t["timeOut"] = operand(ACL_INT32, {1});
  t["oriX"] = operand(rows, {2, 1024});
  for (const char* name : {"residualX", "yOut"}) t[name] = operand(rows, {2, 1, 1024});
  t["xOut"] = operand(rows, norm ? Dims{2, 1, 1024} : Dims{2, 1024});
  t["gamma"] = operand(rows, {1024});
  t["rstdOut"] = operand(ACL_FLOAT, {2, 1, 1});
  t["xRef"] = operand(io, {small(3), 5});
  MoeParameters& m = call.moe;
  call.group = seldom() ? "none" : group;
  if (seldom()) m.group_tp = nullptr;
  m.ep_world_size = seldom() ? small(20) : reset ? 16 : 2;
  m.ep_rank_id = seldom() ? small(4) - 1 : 0;
  m.quant_mode = int8 ? 2 : 0;
  if (seldom()) m.tp_world_size = small(4) - 1;
  if (seldom()) m.shared_expert_rank_num = small(3);
  if (seldom()) m.moe_expert_num = small(6);
  if (seldom()) m.global_bs = small(9);
  if (random() % 4 == 0) m.copy_expert_num = 1;
  if (seldom()) m.const_expert_num = small(3) - 1;
  if (seldom()) call.comm_quant_mode = small(3);
  if (seldom()) m.comm_alg = "fullmesh_v2";
}

}  // namespace weft::cann
