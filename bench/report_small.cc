// SPDX-License-Identifier: Apache-2.0
#include "jobs/machine.h"
#include "report_lines.h"

namespace weft::bench {
namespace {

std::string share_of_peak(const Lines& lines, const Name& name, const Times& times) {
  const tools::GemmPeak peak =
      tools::gemm_peak(lines.report().machine, type_of(name.dtype), isa_in_use());
  return fmt::format("{:.2f} of {}", times.flops / times.median() / peak.ops_per_second, peak.name);
}

}  // namespace

// name.shape begins with the operator, name.layout is the number of threads.
void small_entry(Lines& lines, const Name& name, const Times& times) {
  const auto planning = lines.median(name.with("planning")),
             above = lines.median(name.with("free function above"));
  if (name.what != "run" || !planning || !above) return;
  const bool product = name.shape.starts_with("matmul") && name.layout == "1 thread";
  lines.head(name, times, "{:8.2f} us  {}", times.median() * 1e6,
             product ? share_of_peak(lines, name, times) : "");
  const double plan_us = *planning * 1e6, above_us = *above * 1e6;
  lines.line("    planning {:.2f} us  {}", plan_us, verdict(plan_us, lines.gate("small/planning")));
  lines.line("    planning each time: {:.2f} us above it  {}", above_us,
             verdict(above_us, lines.gate("small/free function")));
}

}  // namespace weft::bench
