// SPDX-License-Identifier: Apache-2.0
#include "weft/dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "weft/tensor.h"

namespace weft {
namespace {

constexpr DTypeInfo kTable[] = {
#define WEFT_DTYPE(enumerator, name, bits, cann, torch, numpy, roundoff) \
  {DType::enumerator, name, bits, cann, torch, numpy, roundoff},
#include "base/dtype.inc"
#undef WEFT_DTYPE
};

constexpr bool table_is_in_enum_order() {
  int i = 0;
  for (const DTypeInfo& row : kTable)
    if (static_cast<int>(row.dtype) != i++) return false;
  return true;
}
static_assert(table_is_in_enum_order(), "dtype.inc and enum DType have different orders");

}  // namespace

const DTypeInfo& info(DType dtype) { return kTable[static_cast<int>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& row : kTable)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

std::string to_string(const ConstTensorRef& tensor) {
  if (!tensor.given()) return "none";
  std::string text =
      fmt::format("{} ({})", to_string(tensor.dtype()), fmt::join(tensor.dims(), ", "));
  if (tensor.format() == Format::kFractalNz)
    return text + (tensor.fractal_nz_transposed() ? " FRACTAL_NZ, transposed view" : " FRACTAL_NZ");
  if (!tensor.dense()) text += fmt::format(" strides ({})", fmt::join(tensor.strides(), ", "));
  return text;
}

}  // namespace weft
