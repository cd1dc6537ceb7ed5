// SPDX-License-Identifier: Apache-2.0
// Rank tables: JSON files that say which rank is on which device.
#pragma once

#include <string>
#include <vector>

#include "error.h"

namespace weft::cann {

struct RankTable {
  std::vector<int> devices;  ///< element r is the device of rank r
  std::string text;          ///< the same for all files that say the same
};

/// Versions 1.0 and 1.2, one server. Errors, which name the key: HCCL_E_PTR,
/// HCCL_E_OPEN_FILE_FAILURE, HCCL_E_PARA, HCCL_E_NOT_SUPPORT (several servers).
Error read_rank_table(const char* path, RankTable& table);

}  // namespace weft::cann
