// SPDX-License-Identifier: Apache-2.0
#include "roofline.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/topology.h"
#include "benchmarks.h"
#include "report_lines.h"

namespace weft::bench {
namespace {

// What others are compared with.
constexpr std::string_view kBeside[] = {"gemm alone",  "separate passes",  "two products",
                                        "copying",     "gemm of one rank", "read weights",
                                        "conversions", "empty task",       "exchange"};
// Limited by an artificial link, by the time that ranks need to notice each other, by what a call
// costs beside its work.
constexpr std::string_view kOtherLimits[] = {"int8 communication", "moe decode", "small"};

bool has_line(const Name& name) {
  return std::ranges::find(kBeside, name.what) == std::end(kBeside) &&
         std::ranges::find(kOtherLimits, name.section) == std::end(kOtherLimits);
}

std::string title_of(const Name& name) {
  std::string title = name.section;
  const std::string* const parts[] = {&name.what, &name.dtype, &name.shape, &name.layout};
  for (const std::string* part : parts)
    if (!part->empty() && *part != "fused") title += " " + *part;
  return title;
}

std::vector<Roofline::Roof> roofs_of(const tools::Machine& machine) {
  std::vector<Roofline::Roof> roofs;
  for (const peak::Peak& p : machine.peaks)
    roofs.push_back({std::string(p.name), p.ops_per_second});
  // The roof of a dtype whose product takes several on the units.
  const tools::GemmPeak half = tools::gemm_peak(machine, DType::kFloat16, isa_in_use());
  if (std::ranges::find(roofs, half.name, &Roofline::Roof::name) == roofs.end())
    roofs.push_back({half.name, half.ops_per_second});
  std::ranges::sort(roofs, {}, &Roofline::Roof::ops_per_second);
  return roofs;
}

}  // namespace

Roofline roofline(const Report& report) {
  Roofline all;
  all.title = "weft on " + topology().cpu_model;
  all.subtitle = fmt::format(
      "One core of {}; instruction sets {}. Medians; memory traffic is what must move if caches "
      "keep the rest.",
      report.machine.cores, isa::names(isa_in_use()));
  all.read_bytes_per_second = report.machine.bandwidth.read;
  all.roofs = roofs_of(report.machine);
  for (const Section& section : sections())
    for (const auto& [full, times] : report.results) {
      const Name name(full);
      if (name.section != section.name || !has_line(name)) continue;
      const double seconds = times.median();
      if (times.flops > 0 && times.memory_bytes > 0) {
        all.points.push_back({name.section, name.dtype, title_of(name),
                              times.flops / times.memory_bytes,
                              times.per_core(times.flops) / seconds});
      } else if (times.flops == 0 && times.bytes > 0) {
        const double copy = times.cores > 1 ? report.copy_together : report.machine.bandwidth.copy;
        all.copies.push_back({title_of(name), times.per_core(times.bytes) / seconds / copy});
      }
    }
  return all;
}

}  // namespace weft::bench
