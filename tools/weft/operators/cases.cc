// SPDX-License-Identifier: Apache-2.0
#include "operators/cases.h"

#include <fmt/core.h>

namespace weft::tools {
namespace {

std::string_view to_string(ScaleShape scale) {
  constexpr std::string_view kNames[] = {"per tensor", "per column", "per column (1, n)",
                                         "per group"};
  return kNames[static_cast<int>(scale)];
}

}  // namespace

std::string Case::text(int ranks) const {
  std::string text = fmt::format("{} {} ranks {}", row->name, shape.text(), ranks);
  text += op().settings(*this);
  if (op().traits().products && row->scenario() != ops::Scenario::kFloat)
    text += fmt::format(", scale {}", to_string(scale));
  for (OperandId id : op().row_choices(*row))
    if (with.has(id)) text += fmt::format(", {}", tools::to_string(id));
  if (transpose_x2) text += ", x2 transposed";
  return text + fmt::format(", seed {}", seed);
}

}  // namespace weft::tools
