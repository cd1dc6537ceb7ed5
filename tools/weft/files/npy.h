// SPDX-License-Identifier: Apache-2.0
// numpy's .npy files: one dense array a file. Reads versions 1 to 3, writes version 1.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weft/dtype.h"
#include "weft/status.h"

namespace weft::tools {

/// What a .npy file says about itself, checked against its size.
struct NpyHeader {
  std::string path;
  DType dtype = DType::kFloat32;  ///< uint16 files are reported as kBFloat16: they hold its bits
  std::string numpy_name;         ///< "float16", "uint16", …
  std::vector<std::int64_t> shape;
  std::int64_t data_offset = 0;
  std::int64_t data_bytes = 0;
};

/// Every error names the file, what was found, what was expected and what to do.
Result<NpyHeader> read_npy_header(const std::string& path);

/// Reads header.data_bytes bytes to `to`. Fails if the file has changed since its header was read.
Status read_npy_data(const NpyHeader& header, void* to);

/// Writes a dense C-order array. kBFloat16 becomes uint16; kInt4 has no file form and is refused.
Status write_npy(const std::string& path, DType dtype, std::span<const std::int64_t> shape,
                 const void* data);

/// "(4, 1024)", "(8,)", "()": as numpy prints a shape.
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace weft::tools
