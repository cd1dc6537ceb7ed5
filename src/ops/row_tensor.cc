// SPDX-License-Identifier: Apache-2.0
#include "ops/row_tensor.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace weft::ops {

void check_rows(Contract& c, std::string_view name, const ConstTensorRef& t, DType io,
                std::span<const std::int64_t> dims, std::string_view like) {
  c.rule(Rule::kFormat, t.format() == Format::kStrided,
         "{} is FRACTAL_NZ but only x2 can be; pass it with strides", name);
  c.rule(Rule::kDtype, t.dtype() == io, "{} is {} but must be {} like {}", name,
         to_string(t.dtype()), to_string(io), like);
  const bool same = std::ranges::equal(t.dims(), dims);
  c.rule(Rule::kShape, same, "{} is {} but must be ({}) like {}", name, shape_text(t),
         fmt::join(dims, ", "), like);
  if (!same) return;
  const int last = t.rank() - 1;
  c.rule(Rule::kStrides, t.stride(last) == 1 || t.dim(last) == 1,
         "{} has stride {} along n but its rows must be adjacent (1); make it contiguous", name,
         t.stride(last));
}

void check_rows_apart(Contract& c, std::string_view name, const ConstTensorRef& t) {
  if (!c.ok() || is_empty(t)) return;
  c.rule(Rule::kStrides, elements_are_apart(t),
         "{} has strides ({}) that put several of its rows at the same place; make it contiguous",
         name, fmt::join(t.strides(), ", "));
}

}  // namespace weft::ops
