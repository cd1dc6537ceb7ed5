// SPDX-License-Identifier: Apache-2.0
#include "ops/ffn/activation.h"

#include <algorithm>
#include <cctype>

namespace weft {
namespace {

struct Name {
  Activation activation;
  std::string_view name;
};
constexpr Name kNames[] = {
    {Activation::kFastGelu, "fastgelu"}, {Activation::kRelu, "relu"},
    {Activation::kSilu, "silu"},         {Activation::kGelu, "gelu"},
    {Activation::kGeglu, "geglu"},       {Activation::kSwiglu, "swiglu"},
    {Activation::kReglu, "reglu"},
};

bool same_letters(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::string_view to_string(Activation activation) {
  return kNames[static_cast<int>(activation)].name;
}

std::optional<Activation> activation_from_name(std::string_view name) {
  for (const Name& row : kNames)
    if (same_letters(row.name, name)) return row.activation;
  return std::nullopt;
}

bool has_gate(Activation activation) { return activation >= Activation::kGeglu; }

activation::Function ops::function_of(Activation activation) {
  using activation::Function;
  switch (activation) {
    case Activation::kFastGelu:
      return Function::kFastGelu;
    case Activation::kRelu:
    case Activation::kReglu:
      return Function::kRelu;
    case Activation::kSilu:
    case Activation::kSwiglu:
      return Function::kSilu;
    default:
      return Function::kGelu;
  }
}

}  // namespace weft
