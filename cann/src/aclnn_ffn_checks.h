// SPDX-License-Identifier: Apache-2.0
// What CANN's FFN refuses and weft's ffn computes, or never sees.
#pragma once

#include <cstdint>
#include <span>

#include "aclnn_first_phase.h"
#include "weft/ops/ffn.h"

namespace weft::cann {

/// The storage format of an operand is one of the tiled ones.
void check_format(Findings& findings, const char* name, const aclTensor* handle);

/// Every expert's rows lie in x, and the last ends with it.
void check_expert_tokens(Findings& findings, std::span<const std::int64_t> tokens, bool are_ends,
                         std::int64_t rows);

/// The rules of CANN's argument checks and of its planning. Expects weft's contract to hold, limits
/// excepted. args.inner_precise says nothing.
void check_ffn(Findings& findings, const FfnArgs& args, std::int64_t inner_precise);

}  // namespace weft::cann
