// SPDX-License-Identifier: Apache-2.0
// The attributes of a mixture of experts on the command line.
#pragma once

#include <cstdint>

#include "operators/cases.h"
#include "terminal/command_line.h"

namespace weft::tools {

struct MoeArguments {
  int moe_expert_num = 0, shared_expert_num = 1, shared_expert_rank_num = 0;
  int zero_expert_num = 0, copy_expert_num = 0, const_expert_num = 0;
  int quant_mode = 0, comm_quant_mode = 0, expert_token_nums_type = 1;
  int global_bs = 0;
  int top_k = 0;  ///< of random data
};

void add_moe_options(Command& command, MoeArguments& arguments);
/// kInvalidArgument for what the operator does not have, and for modes that do not exist.
Status check_moe_options(const Operator& op, const MoeArguments& arguments);
MoeAttributes moe_attributes(const MoeArguments& arguments);

}  // namespace weft::tools
