// SPDX-License-Identifier: Apache-2.0
// Data types of tensors. The table behind this header is src/base/dtype.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "weft/export.h"

namespace weft {

/// kInt4: two's complement -8..7, two per byte, the lower index in the low nibble.
/// kInt64 / kUInt64: also packed dequantisation scales (the low 32 bits are the fp32 scale).
/// From kInt16 on: collectives only, no operator computes with them.
enum class DType : std::uint8_t {
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt8,
  kInt4,
  kInt32,
  kInt64,
  kUInt64,
  kBool,
  kInt16,
  kUInt8,
  kUInt16,
  kUInt32,
  kFloat64,
};

/// One row of the table.
struct DTypeInfo {
  DType dtype;
  std::string_view name;   ///< "float16"
  int bits;                ///< per element
  int cann;                ///< value of aclDataType
  std::string_view torch;  ///< name under torch., empty if there is none
  std::string_view numpy;  ///< .npy descr, empty if there is none
  double unit_roundoff;    ///< half the distance from 1 to the next value; 0 for integers
};

WEFT_API const DTypeInfo& info(DType dtype);
inline std::string_view to_string(DType dtype) { return info(dtype).name; }
/// "float16" and the like; nullopt for an unknown name.
WEFT_API std::optional<DType> dtype_from_name(std::string_view name);
/// Bytes of `count` elements stored densely (int4: rounded up).
inline std::int64_t bytes_of(DType dtype, std::int64_t count) {
  return (count * info(dtype).bits + 7) / 8;
}

}  // namespace weft
