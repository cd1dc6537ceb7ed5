// SPDX-License-Identifier: Apache-2.0
// What the environment and the file of aclInit say about the runtime.
#pragma once

#include <vector>

#include "error.h"
#include "weft/status.h"

namespace weft::cann {

/// WEFT_DEVICES, cut down by ASCEND_RT_VISIBLE_DEVICES: an ascending list of numbers with commas,
/// which ends at the first entry that is none, is out of order, or names no device. Element i is
/// the number in that list of device i.
Result<std::vector<int>> read_devices();

/// The JSON file of aclInit. Changes `scope` if "err_msg_mode" is there. Errors:
/// ACL_ERROR_INVALID_FILE, ACL_ERROR_PARSE_FILE, ACL_ERROR_FILE_ATTR_INVALID.
Error read_config(const char* path, MessageScope& scope);

}  // namespace weft::cann
