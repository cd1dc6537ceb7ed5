// SPDX-License-Identifier: Apache-2.0
// Options of communicators.
#pragma once

#include "error.h"
#include "hccl/hccl_types.h"
#include "weft/group.h"

namespace weft::cann {

/// What a HcclCommConfig says, also one that is shorter because the program was compiled with an
/// older release. Errors: HCCL_E_PTR, HCCL_E_PARA.
Error read_comm_config(const HcclCommConfig* config, GroupOptions& options);

/// The process's setting of HCCL_DETERMINISTIC: HCCL_E_PARA for a value or a variable that is none.
Error set_deterministic(int value);
Error deterministic(int& value);

}  // namespace weft::cann
