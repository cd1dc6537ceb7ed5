// SPDX-License-Identifier: Apache-2.0
// The tables of codes of first phases as data: legal calls, and what breaks each of the rules.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "aclnn_calls.h"

namespace weft::cann {

inline constexpr int kOk = ACLNN_SUCCESS, kNull = ACLNN_ERR_PARAM_NULLPTR;
inline constexpr int kInvalid = ACLNN_ERR_PARAM_INVALID, kTiling = ACLNN_ERR_INNER_TILING_ERROR;
inline constexpr std::int64_t kM = 4, kK = 64, kN = 32;

/// Communicators with these numbers of ranks; tests are rank 0 of each.
struct World {
  CannRanks two{2}, three{3};
};

/// A way to break a call.
struct Rule {
  std::string name;
  int step;  ///< of the table; the lowest decides
  int code;
  /// What it changes. Rules that share one of these can't be broken together.
  std::set<std::string> touches;
  std::function<void(EntryCall&)> breaks;
};
using Rules = std::vector<Rule>;

/// With an address of its own that nothing is at: first phases look at addresses only.
Described tensor(aclDataType dtype, Dims dims);
/// The storage becomes the image of the view.
void make_fractal_nz(Described& d);

// One rule each.
using Change = std::function<void(Described&)>;
Rule change(std::string name, int step, int code, const std::string& which, Change how);
Rule dims_of(std::string name, int step, int code, const std::string& which, Dims dims);
Rule dtype_of(std::string name, int step, int code, const std::string& which, int dtype);
Rule null(const std::string& which);
Rule add(std::string name, int step, int code, const std::string& which, Described d);

void append(Rules& rules, Rules more);

/// Where a table has the rules that every entry point with a communicator has.
struct Steps {
  int handle, reduce_op, reduce_op_code, stream_mode, group_length, tiling;
};
Rules common_rules(const World& world, const Steps& steps);

// --- calls that break nothing but lack a group, and the rules of their tables ---

EntryCall plain_call();  // aclnnMatmulAllReduceV2
Rules plain_rules(const World& world);
EntryCall quant_call();  // aclnnQuantMatmulAllReduceV3
Rules quant_rules(const World& world);
EntryCall weight_quant_call();
Rules weight_quant_rules(const World& world);
EntryCall norm_call();
EntryCall quant_norm_call();
EntryCall weight_quant_norm_call();
/// `scale`: the operand's name, or null for the plain form.
Rules norm_rules(const World& world, const char* scale);
EntryCall scatter_call();
Rules scatter_rules(const World& world);

// --- of aclnnFFN: float16, its GLU forms, experts of bfloat16 (V2), int8, int4 weights ---

EntryCall ffn_call();
Rules ffn_rules();
EntryCall ffn_gate_call();
Rules ffn_gate_rules();
EntryCall ffn_experts_call();
Rules ffn_experts_rules();
EntryCall ffn_quant_call();
Rules ffn_quant_rules();
EntryCall ffn_antiquant_call();
Rules ffn_antiquant_rules();

// --- of the routing operators: gating, init, finalize (V1), finalize (V2) in mode 2 and in mode 3
// ---

EntryCall gating_call();
Rules gating_rules();
EntryCall init_routing_call();
Rules init_routing_rules();
EntryCall finalize_call();
Rules finalize_rules();
EntryCall finalize_v2_call();
Rules finalize_v2_rules();
EntryCall finalize_padded_call();
Rules finalize_padded_rules();

}  // namespace weft::cann
