// SPDX-License-Identifier: Apache-2.0
// The text inside a .npy header: a Python dict literal with three keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::tools {

struct NpyDict {
  std::string descr;  ///< "<f2"; the raw text in brackets for a structured dtype
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Empty on success, else what is wrong ("the key 'shape' is missing").
std::string parse_npy_dict(std::string_view text, NpyDict* dict);

}  // namespace weft::tools
