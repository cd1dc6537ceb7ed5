// SPDX-License-Identifier: Apache-2.0
// weft info: what weft sees of this machine.
#include <fmt/core.h>

#include <memory>

#include "base/memory_use.h"
#include "base/topology.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "files/json.h"
#include "jobs/machine.h"
#include "jobs/memory.h"
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

/// Memory that asks for huge pages, and what it got.
struct HugePages {
  const char *name, *memory;
  std::string setting;
  bool given;  ///< by the setting
  Result<MemoryUse> window;
};

std::vector<HugePages> try_huge_pages() {
  const HugePageSettings settings = huge_page_settings();
  // Two stand for all groups that ask for them.
  return {{"anonymous", "packed weights, scratch, windows of threads", settings.anonymous,
           settings.gives_anonymous(), try_window(RankKind::kThreads, 2)},
          {"shared", "windows of processes", settings.shared, settings.gives_shared(),
           try_window(RankKind::kProcesses, 2)}};
}

Json huge_pages_json() {
  Json all = Json::object();
  for (const HugePages& row : try_huge_pages()) {
    Json entry = Json::object({{"setting", row.setting}});
    if (row.window.ok())
      entry.set("touched_bytes", row.window->resident_bytes)
          .set("huge_page_bytes", row.window->huge_page_bytes);
    else
      entry.set("unknown", row.window.status().message());
    all.set(row.name, entry);
  }
  return all;
}

Json numa_nodes_json() {
  Json list = Json::list();
  for (const NumaNode& node : topology().numa_nodes)
    list.push(Json::object(
        {{"index", node.index}, {"cpus", node.cpus}, {"memory_bytes", node.memory_bytes}}));
  return list;
}

Json topology_json() {
  const Topology& t = topology();
  return Json::object({{"cpu", t.cpu_model},
                       {"packages", t.packages},
                       {"cores", t.cores},
                       {"hardware_threads", t.hardware_threads},
                       {"numa_nodes", numa_nodes_json()},
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
             t.packages, t.cores, t.hardware_threads, t.numa_nodes.size());
  fmt::print("caches    L1d {}, L2 {}, L3 {}\n", cache(t.l1d_bytes), cache(t.l2_bytes),
             cache(t.l3_bytes));
  fmt::print("memory    {}\n", bytes_text(static_cast<double>(t.memory_bytes)));
  for (const NumaNode& node : t.numa_nodes)
    fmt::print("node {:<4} cpus {}, {}\n", node.index, cpus_text(node.cpus),
               bytes_text(static_cast<double>(node.memory_bytes)));
  fmt::print("usable    {} cpu(s), by affinity and cgroup: {}\n\n", t.usable_cpus,
             cpus_text(t.allowed_cpus));
}

std::string in_huge_pages(const MemoryUse& use) {
  return fmt::format("{} of {}", bytes_text(static_cast<double>(use.huge_page_bytes)),
                     bytes_text(static_cast<double>(use.resident_bytes)));
}

void print_huge_pages() {
  Table table({"huge pages", "setting", "in huge pages, tried"});
  bool missing = false;
  for (const HugePages& row : try_huge_pages()) {
    table.add({row.memory, row.setting.empty() ? "not in this kernel" : row.setting,
               row.window.ok() ? in_huge_pages(*row.window) : row.window.status().message()});
    missing = missing || !row.given;
  }
  fmt::print("{}", table.text());
  if (missing) fmt::print("docs/binding.md says how to get those that the settings refuse.\n");
  fmt::print("\n");
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
                             {"kernels", kernels_json(*used)},
                             {"huge_pages", huge_pages_json()}});
    if (arguments.measure) all.set("peaks_of_one_core", machine_json(machine));
    fmt::print("{}\n", all.text(2));
    return 0;
  }
  print_topology();
  print_huge_pages();
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
  Command& command = line.add_command(
      "info", "CPU, NUMA nodes, huge pages, instruction sets, kernels, measured peaks",
      [arguments] { return info(*arguments); });
  command.add("--measure", arguments->measure,
              "Measure compute and memory peaks of one core (a second or two)");
  command.add("--isa", arguments->isa, "Cap the instruction sets");
  command.add("--json", arguments->json, "Print JSON");
  command.footer(
      "\nExamples:\n  weft info\n  weft info --measure --json\n  WEFT_ISA=avx2 weft info");
}

}  // namespace weft::tools
