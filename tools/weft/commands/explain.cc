// SPDX-License-Identifier: Apache-2.0
// weft explain: what a call would do and why, without doing it.
#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "commands/commands.h"
#include "commands/options.h"
#include "jobs/machine.h"
#include "jobs/memory.h"
#include "kernels/gemm/gemm.h"
#include "terminal/text.h"
#include "weft/packed_weight.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
Plans the call (nothing is computed or sent) and prints kernel, tiles, windows and bytes, the
kernels that were refused and why, whether a window and packed weights get huge pages, and a time
predicted from the machine's measured peaks.

Examples:
  weft explain matmul_allreduce_add_rmsnorm 4096x1024:1024x8192 --ranks 2
  weft explain matmul_allreduce 48x1024:1024x4096 --ranks 4 --row W1 --isa avx2
  weft explain ffn 16x4096:11008x4096 --row P16-int4 --activation swiglu)";

struct Arguments {
  std::string op;
  LaunchArguments launch;
  CaseArguments random;
};

std::string refusal(isa::Set needed, isa::Set available) {
  for (const isa::Row& row : isa::rows()) {
    if (row.bit != needed) continue;
    if (!row.available) return std::string(row.reason);
    if ((row.bit & available) == 0) return "capped by --isa or WEFT_ISA";
  }
  return {};
}

void print_refused(DType type, isa::Set available) {
  const gemm::Kernel* chosen = gemm::select(type, available);
  for (const gemm::Kernel& kernel : gemm::kernels()) {
    if (kernel.a != type || &kernel == chosen) continue;
    const std::string reason = refusal(kernel.isa, available);
    fmt::print("refused   {}: {}\n", kernel.name,
               reason.empty() ? "a better one is there" : reason);
  }
}

/// Weights that PackedWeight takes, packed for what memory they get.
void print_packed_weights(Context& context, const Case& made, const Operands& operands) {
  constexpr std::int64_t kMost = 1 << 30;  // as much memory as this command may fill
  if (!made.op().traits().products || made.row->x1 != made.row->x2) return;
  for (OperandId id : {OperandId::kX2, OperandId::kWeight1, OperandId::kWeight2}) {
    const ConstTensorRef& x2 = operands.tensor(id);
    if (!x2.given() || x2.elements() == 0) continue;
    const std::string name(to_string(id));
    if (x2.elements() * info(x2.dtype()).bits / 8 > kMost) {
      fmt::print("memory    {} packed: not tried, it is large\n", name);
      continue;
    }
    const Result<PackedWeight> weight = PackedWeight::pack(context, x2);
    fmt::print("memory    {} packed: {}\n", name,
               weight.ok() ? memory_text(weight->memory_use()) : weight.status().message());
  }
}

void print_prediction(const Case& made, double bytes, const Machine& machine, int ranks,
                      int threads, isa::Set available) {
  const int cores = std::min(machine.cores, ranks * threads);
  const double moving = bytes * ranks / (machine.bandwidth.copy * cores);
  const double copy = machine.bandwidth.copy * 1e-9;
  if (!made.op().traits().products) {
    fmt::print("bytes     {} per rank, {:.1f} GB/s per core (copy)\n", bytes_text(bytes), copy);
    fmt::print("time      at least {} on {} core(s)\n", seconds_text(moving), cores);
    return;
  }
  const GemmPeak peak = gemm_peak(machine, made.row->x1, available);
  const double flops = made.op().flops(made, ranks);
  const double gemm = flops / (peak.ops_per_second * cores);
  fmt::print("work      {:.3f} GFLOP in all, {} per core ({})\n", flops * 1e-9,
             flops_text(peak.ops_per_second), peak.name);
  const bool matmul = made.op().traits().matmul;
  fmt::print("bytes     {} per rank{}, {:.1f} GB/s per core (copy)\n", bytes_text(bytes),
             matmul ? " beside the gemm" : "", copy);
  if (!matmul) {
    // The products read the bytes: the longer of the two counts.
    fmt::print("time      at least {}: products at peak {} or bytes {}, on {} core(s)\n",
               seconds_text(std::max(gemm, moving)), seconds_text(gemm), seconds_text(moving),
               cores);
    return;
  }
  fmt::print("time      at least {}: gemm at peak {} + bytes {}, on {} core(s)\n",
             seconds_text(gemm + moving), seconds_text(gemm), seconds_text(moving), cores);
}

Status explain(const Arguments& arguments) {
  WEFT_ASSIGN_OR_RETURN(const Operator* const op, find_operator(arguments.op));
  WEFT_ASSIGN_OR_RETURN(const LaunchOptions launch, launch_options(arguments.launch));
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(arguments.launch.isa));
  WEFT_ASSIGN_OR_RETURN(const Case made, make_case(*op, arguments.random));
  // Planning is local, so one rank of a group of threads stands for all.
  WEFT_ASSIGN_OR_RETURN(std::vector<Group> groups, Group::local(launch.ranks, launch.group));
  WEFT_ASSIGN_OR_RETURN(Context context, Context::create(context_options(
                                             launch, bind_ranks(launch.ranks, launch.bind), 0)));
  report_binding(arguments.launch);
  WEFT_ASSIGN_OR_RETURN(Operands operands, RandomSource(made, false).make(0, launch.ranks));
  if (arguments.random.nz_x2()) WEFT_RETURN_IF_ERROR(operands.store_x2_as_nz(context));
  WEFT_RETURN_IF_ERROR(
      operands.make_outputs(op->outputs(operands, launch.ranks, OutputForm::kSeparate)));
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<PlannedCall> plan,
                        op->plan(context, groups[0], operands, nullptr));
  fmt::print("{} {}, row {}{}\n{}", op->name(), made.shape.text(), made.row->name,
             op->settings(made), plan->describe());
  if (op->traits().products) print_refused(made.row->x1, isa);
  if (op->traits().collective)
    fmt::print("memory    touched window: {}\n", window_text(launch.kind, launch.ranks));
  print_packed_weights(context, made, operands);
  WEFT_ASSIGN_OR_RETURN(const Machine machine, measure_machine(isa));
  print_prediction(made, op->bytes_moved(operands, launch.ranks), machine, launch.ranks,
                   context.threads(), isa);
  return {};
}

}  // namespace

void add_explain(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command =
      line.add_command("explain", "Say which kernel, tiles and windows a call would use, and why",
                       [arguments] { return exit_code(explain(*arguments)); });
  add_operator(command, arguments->op);
  add_case_options(command, arguments->random);
  add_launch_options(command, arguments->launch);
  command.footer(operators_help() + kFooter);
}

}  // namespace weft::tools
