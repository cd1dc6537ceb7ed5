// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <string>

#include "benchmarks.h"
#include "operators/operator.h"

namespace weft::bench {
namespace {

using tools::OperandId;

const Type kProducts[] = {
    {"float16", "N1"}, {"bfloat16", "N2"}, {"int8", "Q4", {OperandId::kPertokenScale}}};

void add(Registrar& r, Team& team, int threads, const Type& type, const std::string& shape) {
  SmallJob* const job = r.small(team, type, shape.c_str());
  const std::string_view op = operator_of(*require(tools::find_dtype_row(type.row))).name();
  const auto measure = [&](const char* what, double (SmallJob::*call)()) {
    r.add(fmt::format("small/{}/{}/{} {}/{} thread{}", what, type.name, op, shape, threads,
                      threads > 1 ? "s" : ""),
          job, call);
  };
  measure("run", &SmallJob::run_again);
  measure("planning", &SmallJob::planning);
  measure("free function above", &SmallJob::free_function_above);
}

}  // namespace

void add_small(Registrar& r) {
  for (const int threads : {1, 2}) {
    Team& team = r.team(1, threads);
    for (const int edge : {16, 32, 64, 128, 256, 512})
      for (const Type& type : kProducts)
        add(r, team, threads, type, fmt::format("{0}x{0}:{0}x{0}", edge));
    for (const Type& type : kProducts) add(r, team, threads, type, "1x1024:1024x1024");
    add(r, team, threads, {"bfloat16", "BF16"}, "8x4096");
    add(r, team, threads, {"bfloat16", "UB"}, "8x512:1024x512");
    add(r, team, threads, {"bfloat16", "DB"}, "8x2048");
    add(r, team, threads, {"bfloat16", "CB"}, "8x2048");
  }
}

}  // namespace weft::bench
