// SPDX-License-Identifier: Apache-2.0
// weft run: the operator on files or random numbers, or any program as N ranks.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "files/file_io.h"
#include "operators/operand_files.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
Files: '{rank}' in a name stands for the rank; without it all ranks read the same file. float16,
uint16 (the bits of bfloat16, with --dtype bf16), int8, int32, uint64 and int64 (packed scales);
float32 scales, and biases of ffn; other float32 with --round. int4 weights are int8 files with
--int4: two in a byte along the last axis, the lower nibble first. Ranks may hold different k.
Results: one file for each output and rank, DIR/output_{rank}.npy; DIR/y_{rank}.npy and
DIR/norm_out_{rank}.npy; DIR/y_{rank}.npy, DIR/rstd_{rank}.npy and DIR/x_{rank}.npy; or of ffn
DIR/y_{rank}.npy.

Experts: every rank gives its tokens and their expert_ids; moe_dispatch writes expand_x_{rank}.npy,
assist_info_for_combine_{rank}.npy, expert_token_nums_{rank}.npy, ep_recv_counts_{rank}.npy and with
--quant-mode 2 dynamic_scales_{rank}.npy, and moe_combine takes them as they are: ep_recv_counts as
--ep-send-counts, and expand_x after the experts. expand_x has room for all that could come: tokens of
all ranks x min(experts of the rank, experts of a token) rows; on a rank with a shared expert all
tokens of the ranks that send to it. Rows behind the last are zero. Ranks whose numbers of tokens
differ need --global-bs. A mask is a bool file, of tokens (Bs) or of entries (Bs, K). There is no
tensor parallelism in this tool.

Examples:
  weft run matmul_allreduce_add_rmsnorm --ranks 8 --x1 in/x1_{rank}.npy --x2 in/x2_{rank}.npy \
       --residual in/residual_{rank}.npy --gamma in/gamma.npy --epsilon 1e-6 --out out
  weft run matmul_allreduce --ranks 2 --x1 x1_{rank}.npy --x2 x2_{rank}.npy --x3 x3_{rank}.npy \
       --dequant-scale scale.npy --pertoken-scale token_{rank}.npy --dtype fp16 --out out
  weft run matmul_allreduce --ranks 2 --x1 x1_{rank}.npy --x2 pairs_{rank}.npy --int4 \
       --antiquant-scale scale.npy --antiquant-group-size 128 --out out
  weft run matmul_reduce_scatter --ranks 2 --dtype bf16 --round --transpose-x2 ...
  weft run add_rmsnorm --x1 x1.npy --x2 x2.npy --gamma gamma.npy --out out
  weft run ffn --x x.npy --weight1 gate_up.npy --weight2 down.npy --transpose-weight1 \
       --transpose-weight2 --activation swiglu --gate-is-left --dtype bf16 --out out
  weft run ffn --x x.npy --weight1 w1.npy --weight2 w2.npy --expert-tokens 3,0,5 --out out
  weft run moe_dispatch --ranks 2 --x x_{rank}.npy --expert-ids ids_{rank}.npy --dtype bf16 \
       --moe-expert-num 4 --out out
  weft run moe_combine --ranks 2 --expand-x experts_{rank}.npy --expert-ids ids_{rank}.npy \
       --assist-info-for-combine out/assist_info_for_combine_{rank}.npy --ep-send-counts \
       out/ep_recv_counts_{rank}.npy --expert-scales w_{rank}.npy --moe-expert-num 4 --out out
  weft run matmul_allreduce --ranks 4 --random 48x1024:1024x4096 --row Q4 --seed 7 --repeat 5 \
       --with x3,comm-quant-scale-1,comm-quant-scale-2 --timeline call.svg
  weft run --ranks 4 -- ./my_program its arguments
A program gets WEFT_RANK, WEFT_RANKS and WEFT_UNIQUE_ID, which Group::from_environment() reads.
stdin goes to rank 0 unless it is a terminal.)";

struct Arguments {
  std::string op;
  LaunchArguments launch;
  FileOptions files;
  CaseArguments random;
  TraceFiles trace;
  std::string dtype, out;
  int repeat = 1;
  bool in_place = false, json = false;
};

Status bad(std::string text) { return Status(StatusCode::kInvalidArgument, std::move(text)); }

/// An io dtype of the operator: "bf16", "float16", …
Result<DType> io_dtype_from_text(const Operator& op, const std::string& text) {
  constexpr std::pair<DType, std::string_view> kNames[] = {
      {DType::kFloat16, "fp16"}, {DType::kBFloat16, "bf16"}, {DType::kFloat32, "fp32"}};
  std::vector<std::string_view> legal;
  for (const auto& [dtype, name] : kNames) {
    if (std::ranges::count(op.traits().rows, dtype, &DTypeRow::io) == 0) continue;
    if (text == name || text == weft::to_string(dtype)) return dtype;
    legal.push_back(name);
  }
  return bad(fmt::format("--dtype is '{}', it must be {}.", text, fmt::join(legal, " or ")));
}

bool any_file(const FileOptions& files) {
  return std::ranges::any_of(files.pattern, [](const std::string& p) { return !p.empty(); });
}

Result<std::unique_ptr<OperandSource>> random_source(const Operator& op,
                                                     const Arguments& arguments) {
  if (any_file(arguments.files)) return bad("--random and operand files exclude each other.");
  if (arguments.files.int4)
    return bad("--int4 says what files hold: with --random name a row with int4 weights.");
  WEFT_ASSIGN_OR_RETURN(Case made, make_case(op, arguments.random, arguments.files.dtype));
  if (arguments.files.dtype && *arguments.files.dtype != made.row->io)
    return bad(fmt::format("--dtype is {}, row {} computes in {}.", arguments.dtype, made.row->name,
                           weft::to_string(made.row->io)));
  return std::unique_ptr<OperandSource>(new RandomSource(std::move(made)));
}

/// What belongs to random operands or to another operator is refused, and what lacks is named.
Status check_files(const Operator& op, const Arguments& arguments) {
  const FileOptions& files = arguments.files;
  if (!arguments.random.row.empty() || !arguments.random.with.empty())
    return bad("--row and --with describe random operands: pass --random SHAPE.");
  if (arguments.random.moe.top_k > 0)
    return bad("--top-k describes random operands: expert_ids say it of files, leave it out.");
  if (op.has(OperandId::kExpertIds) && arguments.random.moe.moe_expert_num == 0)
    return bad("--moe-expert-num is missing.\nPass the number of routed experts.");
  if (arguments.random.experts > 0 || arguments.random.skew)
    return bad("--experts and --skew describe random operands: pass --expert-tokens instead.");
  if (op.has(OperandId::kWeight1) && arguments.random.group_size != 0)
    return bad(
        "the shape of antiquant_scale1 says how many groups there are: leave "
        "--antiquant-group-size out.");
  if (files.int4 && std::ranges::count(op.traits().rows, DType::kInt4, &DTypeRow::x2) == 0)
    return bad(fmt::format("{} has no int4 weights: leave --int4 out.", op.name()));
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    if (!files.pattern[static_cast<std::size_t>(i)].empty() && !op.has(id))
      return bad(fmt::format("{} has no operand {}.\nIts operands: {}.", op.name(), to_string(id),
                             op.operands_text()));
  }
  for (OperandId id : op.traits().required)
    if (files.pattern[static_cast<std::size_t>(id)].empty())
      return bad(
          fmt::format("{0} is missing.\nPass {0} FILE.npy, or --random SHAPE instead of "
                      "files.",
                      option_name(id)));
  return {};
}

Result<std::unique_ptr<OperandSource>> file_source(const Operator& op, Arguments& arguments) {
  WEFT_RETURN_IF_ERROR(check_attributes(op, arguments.random));
  WEFT_RETURN_IF_ERROR(check_files(op, arguments));
  FileOptions& files = arguments.files;
  files.transposed = arguments.random.transposed();
  files.epsilon = arguments.random.epsilon_or_default();
  files.group_size = arguments.random.group_size;
  WEFT_ASSIGN_OR_RETURN(files.ffn, ffn_attributes(arguments.random, nullptr));
  files.moe = moe_attributes(arguments.random.moe);
  auto source = std::make_unique<FileSource>(op, files);
  WEFT_RETURN_IF_ERROR(source->check(arguments.launch.ranks));
  return std::unique_ptr<OperandSource>(std::move(source));
}

/// Files or random numbers, never both.
Result<std::unique_ptr<OperandSource>> make_source(const Operator& op, Arguments& arguments) {
  if (!arguments.dtype.empty()) {
    WEFT_ASSIGN_OR_RETURN(arguments.files.dtype, io_dtype_from_text(op, arguments.dtype));
  }
  return arguments.random.shape.empty() ? file_source(op, arguments) : random_source(op, arguments);
}

void print_text(const Operator& op, const Arguments& arguments, const LaunchOptions& launch,
                const std::vector<RankReport>& reports) {
  const std::vector<double> seconds = call_seconds(reports);
  const double typical = median(seconds);
  fmt::print("{}, {} rank(s) as {}, {} thread(s) each\n", op.name(), launch.ranks,
             arguments.launch.transport, reports[0].threads);
  fmt::print("  ");
  for (const auto& [name, tensor] : reports[0].operands)
    if (std::ranges::count(op.traits().required, *operand_from_name(name)) > 0)
      fmt::print("{} {}, ", name, tensor);
  fmt::print("{} {}\n", reports[0].outputs[0].name, reports[0].outputs[0].tensor);
  fmt::print("  {}{}, {}\n", seconds_text(typical),
             seconds.size() > 1 ? fmt::format(" (median of {})", seconds.size()) : "",
             rate_text(reports, typical));
  if (!arguments.out.empty()) {
    std::vector<std::string> files;
    for (const OutputReport& output : reports[0].outputs)
      files.push_back(fmt::format("{}/{}_{{rank}}.npy", arguments.out, output.name));
    fmt::print("  wrote {}\n", fmt::join(files, " and "));
  }
  if (arguments.trace.wanted()) fmt::print("{}", waits_text(reports));
  for (const std::string& path : {arguments.trace.trace, arguments.trace.timeline})
    if (!path.empty()) fmt::print("  wrote {}\n", path);
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    if (!reports[rank].remark.empty()) fmt::print("  rank {}: {}\n", rank, reports[rank].remark);
    if (reports[rank].events_dropped > 0)
      fmt::print("  the trace of rank {} lacks its last {} events\n", rank,
                 reports[rank].events_dropped);
  }
}

Status run_operator(Arguments& arguments) {
  WEFT_ASSIGN_OR_RETURN(const Operator* const op, find_operator(arguments.op));
  WEFT_ASSIGN_OR_RETURN(const LaunchOptions launch, launch_options(arguments.launch));
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<OperandSource> source, make_source(*op, arguments));
  if (arguments.in_place && !op->in_place_operand())
    return bad(fmt::format("{} has no in-place form: leave --inplace out.", op->name()));
  WEFT_RETURN_IF_ERROR(check_trace(*op, arguments.trace.wanted()));
  WEFT_RETURN_IF_ERROR(check_trace_files(arguments.trace));
  if (!arguments.out.empty()) WEFT_RETURN_IF_ERROR(make_folder(arguments.out));
  Job job;
  job.op = op;
  job.operands = source.get();
  job.repeat = arguments.repeat;
  job.outputs = arguments.in_place ? OutputForm::kInPlace : OutputForm::kSeparate;
  job.nz_x2 = arguments.random.nz_x2();
  job.trace = arguments.trace.wanted();
  job.out = arguments.out;
  report_binding(arguments.launch);
  WEFT_ASSIGN_OR_RETURN(const std::vector<RankReport> reports, run_job(launch, job));
  WEFT_RETURN_IF_ERROR(write_trace_files(arguments.trace, *op, launch, reports));
  if (arguments.json) {
    fmt::print("{}\n", job_json(*op, launch, reports).text(2));
  } else {
    print_text(*op, arguments, launch, reports);
  }
  return {};
}

int run(Arguments& arguments, const std::vector<std::string>& program) {
  Status status;
  if (program.empty()) {
    if (arguments.op.empty()) {
      fmt::print(stderr,
                 "weft: name an operator, or a program behind '--'.\n"
                 "See weft run --help.\n");
      return kUsageExit;
    }
    status = run_operator(arguments);
  } else if (!arguments.op.empty()) {
    status = Status(StatusCode::kInvalidArgument,
                    "name an operator or a program behind '--', not both.");
  } else {
    report_binding(arguments.launch);
    status = run_program(arguments.launch.ranks, program, arguments.launch.binding());
  }
  return exit_code(status);
}

/// Of the operands, in the order of their ids.
constexpr const char* kMeaning[] = {
    "Activations (m, k) or (b, s, k); of a norm: one addend",
    "Weights (k, n), or (n, k) with --transpose-x2; of a norm: the other addend",
    "Added on every rank, (n)",
    "Added on every rank, like the output",
    "int8 x int8: (1), (n) or (1, n)",
    "int8 x int8: one factor a row, (m)",
    "Quantised weights: (1), (n), (1, n), (groups, n)",
    "Like the scale",
    "int8 communication: of the partials, (n) or (1, n)",
    "int8 communication: of the sum, like the first",
    "int8 x int8: one factor a row, (m) or (m, 1)",
    "int8 x int8: (1), (n) or (1, n)",
    "Added after the sum, (b, s, n)",
    "Weight of the norm, (n); of add_rmsnorm the last axes of x1; of moe_combine_add_rmsnorm (H)",
    "Activations (…, k1); of moe_dispatch tokens (Bs, H)",
    "([experts,] k1, n1), n1 = k2, with a gate 2 k2; or with --transpose-weight1 the last two "
    "swapped",
    "([experts,] k2, n2)",
    "(experts): rows of each, or with --tokens-are-ends their ends",
    "([experts,] n1)",
    "([experts,] n2)",
    "int8 x int8: the activation is quantised with (1) or (k2); (experts) or (experts, k2)",
    "int8 x int8: (1) or (experts)",
    "int8 x int8: ([experts,] n1)",
    "int8 x int8: ([experts,] n2)",
    "Quantised weights: ([experts,] n1), (…, groups, n1) or (…, 1)",
    "The same for weight2",
    "Like its scale",
    "Like its scale",
    "Experts of each token, (Bs, K): int32",
    "Int8 rows: a factor for each shared and routed expert, (experts, H): float32",
    "Tokens or entries that count, (Bs) or (Bs, K): bool",
    "Rows back from the experts, where moe_dispatch put them, (A, H)",
    "As moe_dispatch wrote it: int32",
    "ep_recv_counts as moe_dispatch wrote it: int32",
    "Weights of the experts of each token, (Bs, K): float32",
    "Added to each token, (Bs, H) or three axes",
    "Added before the norm, (Bs, H) or three axes",
    "Copy and const experts: the tokens, (Bs, H)",
    "Const experts: factor of the token, (experts) or (experts, H)",
    "Const experts: factor of v, like the first",
    "Const experts: v, (experts, H)"};
static_assert(std::size(kMeaning) == kOperands);

void add_operand_options(Command& command, FileOptions& files) {
  for (int i = 0; i < kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    const char* group = id < OperandId::kX           ? "Operands"
                        : id < OperandId::kExpertIds ? "Operands of ffn"
                                                     : "Operands of moe_dispatch and moe_combine";
    std::string names = option_name(id);
    // The combine with a norm calls it so in Python.
    if (id == OperandId::kAssistInfoForCombine) names += ",--expand-idx";
    command.add(names, files.pattern[static_cast<std::size_t>(i)], kMeaning[i])
        .type(id == OperandId::kExpertTokens ? "N,N,…|FILE.npy" : "FILE.npy")
        .group(group);
  }
}

}  // namespace

void add_run(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command =
      line.add_command("run", "Run an operator on .npy files or random data, or start a program",
                       [arguments, &line] { return run(*arguments, line.program_arguments()); });
  command.takes_program();
  add_operator(command, arguments->op);
  add_launch_options(command, arguments->launch);
  add_operand_options(command, arguments->files);
  command
      .add("--random", arguments->random.shape,
           "Random operands instead of files: MxK:KxN or BxSxK:KxN; of a norm MxN; of ffn "
           "MxK:HIDDENxN; of moe operators BSxH")
      .type("SHAPE");
  add_random_options(command, arguments->random);
  command.add("--dtype", arguments->dtype,
              "The io dtype: fp16, bf16 (uint16 files then hold bfloat16 bits) or fp32 (a norm)");
  command.add("--round", arguments->files.round, "Round float32 files to the io dtype");
  command.add("--int4", arguments->files.int4,
              "The int8 weights hold two int4 each, the lower nibble first: (k, n/2)");
  add_attribute_options(command, arguments->random);
  command.add("--inplace", arguments->in_place,
              "The output overwrites residual's memory (or x3's, x1's or residual_x's)");
  command.add("--out", arguments->out, "Folder for the results").type("DIR");
  command.add("--repeat", arguments->repeat, "Number of calls").range(1, 1000000).show_default();
  add_trace_options(command, arguments->trace);
  command.add("--json", arguments->json, "Print JSON");
  command.footer(operators_help() + kFooter);
}

}  // namespace weft::tools
