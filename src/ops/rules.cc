// SPDX-License-Identifier: Apache-2.0
#include "ops/rules.h"

namespace weft::ops {
namespace {

struct Row {
  std::string_view name;
  int codes[8];  // in the order of CannEntry
};
constexpr Row kTable[] = {
#define WEFT_RULE(rule, ...) {#rule, {__VA_ARGS__}},
#include "ops/rules.inc"
#undef WEFT_RULE
#define WEFT_RULE(rule, hccl) {#rule, {0, 0, 0, 0, 0, 0, 0, hccl}},
#include "ops/collectives/rules.inc"
#undef WEFT_RULE
};

}  // namespace

int cann_code(Rule rule, CannEntry entry) {
  return kTable[static_cast<int>(rule)].codes[static_cast<int>(entry)];
}

std::string_view to_string(Rule rule) { return kTable[static_cast<int>(rule)].name; }

}  // namespace weft::ops
