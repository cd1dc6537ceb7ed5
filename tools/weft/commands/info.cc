// SPDX-License-Identifier: Apache-2.0
// weft info: what weft sees of this machine.
#include <fmt/core.h>

#include <memory>

#include "base/topology.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "files/json.h"
#include "jobs/machine.h"
#include "kernels/gemm/gemm.h"
#include "kernels/rows/rows.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

struct Arguments {
  bool measure = false, json = false;
  std::string isa;
};

constexpr DType kGemmTypes[] = {DType::kFloat16, DType::kBFloat16, DType::kInt8};
constexpr DType kRowTypes[] = {DType::kFloat16, DType::kBFloat16};

Json topology_json() {
  const Topology& t = topology();
  return Json::object({{"cpu", t.cpu_model},
                       {"packages", t.packages},
                       {"cores", t.cores},
                       {"hardware_threads", t.hardware_threads},
                       {"numa_nodes", t.numa_nodes},
                       {"l1d_bytes", t.l1d_bytes},
                       {"l2_bytes", t.l2_bytes},
                       {"l3_bytes", t.l3_bytes},
                       {"memory_bytes", t.memory_bytes},
                       {"usable_cpus", t.usable_cpus}});
}

/// Empty if it is used.
std::string_view why_not_used(const isa::Row& row, isa::Set used) {
  if (!row.available) return row.reason;
  return row.bit & used ? "" : "capped by --isa or WEFT_ISA";
}

Json isa_json(isa::Set used) {
  Json list = Json::list();
  for (const isa::Row& row : isa::rows()) {
    Json entry = Json::object({{"name", row.name}, {"used", (row.bit & used) != 0}});
    if (const std::string_view reason = why_not_used(row, used); !reason.empty())
      entry.set("reason", reason);
    list.push(entry);
  }
  return list;
}

struct KernelRow {
  std::string family, dtype, name;
};

std::vector<KernelRow> kernel_rows(isa::Set used) {
  std::vector<KernelRow> rows;
  for (DType type : kGemmTypes)
    if (const gemm::Kernel* kernel = gemm::select(type, used))
      rows.push_back({"gemm", std::string(to_string(type)), std::string(kernel->name)});
  for (DType type : kRowTypes)
    rows.push_back(
        {"rows", std::string(to_string(type)), std::string(rows::select(type, used).name)});
  return rows;
}

Json kernels_json(isa::Set used) {
  Json list = Json::list();
  for (const KernelRow& row : kernel_rows(used))
    list.push(Json::object({{"family", row.family}, {"dtype", row.dtype}, {"kernel", row.name}}));
  return list;
}

Json machine_json(const Machine& machine) {
  Json peaks = Json::list();
  for (const peak::Peak& p : machine.peaks)
    peaks.push(Json::object({{"name", p.name}, {"ops_per_second", p.ops_per_second}}));
  return Json::object({{"compute", peaks},
                       {"read_bytes_per_second", machine.bandwidth.read},
                       {"copy_bytes_per_second", machine.bandwidth.copy}});
}

void print_topology() {
  const Topology& t = topology();
  const auto cache = [](std::int64_t bytes) {
    return bytes > 0 ? bytes_text(static_cast<double>(bytes)) : std::string("unknown");
  };
  fmt::print("CPU       {}\n", t.cpu_model);
  fmt::print("          {} package(s), {} core(s), {} hardware thread(s), {} NUMA node(s)\n",
             t.packages, t.cores, t.hardware_threads, t.numa_nodes);
  fmt::print("caches    L1d {}, L2 {}, L3 {}\n", cache(t.l1d_bytes), cache(t.l2_bytes),
             cache(t.l3_bytes));
  fmt::print("memory    {}\n", bytes_text(static_cast<double>(t.memory_bytes)));
  fmt::print("usable    {} cpu(s), by affinity and cgroup\n\n", t.usable_cpus);
}

void print_machine(const Machine& machine) {
  Table table({"one core, measured", ""});
  for (const peak::Peak& p : machine.peaks)
    table.add({std::string(p.name), flops_text(p.ops_per_second)});
  table.add({"read from memory", fmt::format("{:.1f} GB/s", machine.bandwidth.read * 1e-9)});
  table.add({"copy (read + written)", fmt::format("{:.1f} GB/s", machine.bandwidth.copy * 1e-9)});
  fmt::print("\n{}", table.text());
}

int info(const Arguments& arguments) {
  const Result<isa::Set> used = isa::capped(arguments.isa);
  if (!used.ok()) return report_failure(used.status());
  Machine machine;
  if (arguments.measure) {
    Result<Machine> measured = measure_machine(*used);
    if (!measured.ok()) return report_failure(measured.status());
    machine = std::move(measured).value();
  }
  if (arguments.json) {
    Json all = Json::object({{"topology", topology_json()},
                             {"isa", isa_json(*used)},
                             {"kernels", kernels_json(*used)}});
    if (arguments.measure) all.set("peaks_of_one_core", machine_json(machine));
    fmt::print("{}\n", all.text(2));
    return 0;
  }
  print_topology();
  Table isa_table({"instruction set", "", ""});
  for (const isa::Row& row : isa::rows())
    isa_table.add({std::string(row.name), row.bit & *used ? "used" : "-",
                   std::string(why_not_used(row, *used))});
  Table kernel_table({"kernels", "dtype", "name"});
  for (const KernelRow& row : kernel_rows(*used))
    kernel_table.add({row.family, row.dtype, row.name});
  fmt::print("{}\n{}", isa_table.text(), kernel_table.text());
  if (arguments.measure) print_machine(machine);
  return 0;
}

}  // namespace

void add_info(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command =
      line.add_command("info", "CPU, instruction sets, topology, kernels, measured peaks",
                       [arguments] { return info(*arguments); });
  command.add("--measure", arguments->measure,
              "Measure compute and memory peaks of one core (a second or two)");
  command.add("--isa", arguments->isa, "Cap the instruction sets");
  command.add("--json", arguments->json, "Print JSON");
  command.footer(
      "\nExamples:\n  weft info\n  weft info --measure --json\n  WEFT_ISA=avx2 weft info");
}

}  // namespace weft::tools
