// SPDX-License-Identifier: Apache-2.0
// weft check: operators on random operands against their references.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>

#include "commands/commands.h"
#include "commands/options.h"
#include "jobs/job.h"
#include "jobs/verify.h"
#include "operators/variants.h"
#include "terminal/text.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
One line per case: ok or FAIL, the largest error as a share of its derived bound, and the case.
Without shapes a set of awkward ones is used. Every row of dtypes is tried with and without its
optional operands, with row-major, transposed and FRACTAL_NZ x2, all forms of scales, separate and
in-place outputs, and int8 communication, which must agree bit for bit; of ffn with every
activation, dense and with experts; of the moe operators with and without masks, shared and special
experts, and int8 rows, every bit, also of the rows that are not written. Where all ranks must get the same results they must be the same
bits. --all checks every row of every operator, prints a line for each and takes about a minute.

Examples:
  weft check --all
  weft check matmul_allreduce_add_rmsnorm
  weft check matmul_allreduce 48x1024:1024x4096 --ranks 1,2,4 --row N1,Q4
  weft check matmul_allreduce_add_rmsnorm 48x100,70,30:100,70,30x64 --ranks 3 --transport threads
  weft check add_rmsnorm 3x5x64x128:64x128
  weft check ffn 48x256:704x256 --row UBG,P16
  weft check moe_dispatch 16,0,5x1027 --ranks 3)";

// Reference products per case: a tenth of a second, and a fifth of that where there are thousands.
constexpr double kBudget = 5e6, kBudgetOfAll = 1e6;

struct Arguments {
  std::string op;
  std::vector<std::string> shapes;
  std::vector<int> ranks;
  std::vector<std::string> rows;
  LaunchArguments launch;
  const Command* command = nullptr;
  std::uint64_t seed = 1;
  bool all = false;
};

struct Totals {
  int cases = 0, failed = 0;
  double worst = 0;

  void add(const Totals& more) {
    cases += more.cases;
    failed += more.failed;
    worst = std::max(worst, more.worst);
  }
};

struct Outcome {
  Status status;
  Verdict verdict;
  std::string difference;  ///< an output that differs between ranks that must agree

  bool ok() const { return status.ok() && verdict.ok() && difference.empty(); }
};

Outcome run_case(const LaunchOptions& launch, const Variant& variant, double budget) {
  const Case& made = variant.made;
  const RandomSource source(made);
  Job job;
  job.op = &made.op();
  job.operands = &source;
  job.outputs = variant.outputs;
  job.nz_x2 = variant.nz_x2;
  job.digests = job.op->same_on_all_ranks(made);
  job.rows = rows_to_check(made, launch.ranks, budget);
  Outcome outcome;
  const Result<std::vector<RankReport>> reports = run_job(launch, job);
  outcome.status = reports.status();
  if (!reports.ok()) return outcome;
  const bool all_rows =
      static_cast<std::int64_t>(job.rows.size()) == job.op->result_rows(made, launch.ranks);
  const Result<Verdict> verdict = verify(*job.op, source, *reports, job.rows, all_rows);
  outcome.status = verdict.status();
  if (verdict.ok()) outcome.verdict = *verdict;
  if (job.digests) outcome.difference = first_difference(*reports);
  return outcome;
}

void print_case(const Outcome& outcome, const std::string& text) {
  if (outcome.ok()) {
    fmt::print("ok    {:6.3f}  {}\n", outcome.verdict.worst, text);
  } else if (!outcome.status.ok()) {
    fmt::print("FAIL       -  {}: {}\n", text, outcome.status.to_string());
  } else if (!outcome.verdict.ok()) {
    fmt::print("FAIL  {:6.3f}  {}: {}\n", outcome.verdict.worst, text, outcome.verdict.where);
  } else {
    fmt::print("FAIL  {:6.3f}  {}: ranks hold different bits in {}\n", outcome.verdict.worst, text,
               outcome.difference);
  }
  std::fflush(stdout);
}

/// The checks of one command line.
class Checker {
 public:
  Checker(const Arguments& arguments, LaunchOptions launch)
      : arguments_(arguments), launch_(std::move(launch)) {
    mixed_ = arguments_.all && !arguments_.command->given("--transport");
  }

  Status check_operator(const Operator& op, const std::vector<const DTypeRow*>& rows,
                        Totals* totals) {
    for (const DTypeRow* row : rows) {
      Totals of_row;
      WEFT_RETURN_IF_ERROR(check_row(op, *row, &of_row));
      totals->add(of_row);
      if (!arguments_.all) continue;
      fmt::print("{} {:6.3f}  {} {}: {} cases{}\n", of_row.failed == 0 ? "ok   " : "FAIL ",
                 of_row.worst, op.name(), row->name, of_row.cases,
                 of_row.failed == 0 ? "" : fmt::format(", {} failed", of_row.failed));
      std::fflush(stdout);
    }
    return {};
  }

 private:
  Status check_row(const Operator& op, const DTypeRow& row, Totals* totals) {
    const std::vector<std::string> shapes =
        arguments_.shapes.empty() ? op.check_shapes(row) : arguments_.shapes;
    const std::vector<int> ranks_to_try =
        arguments_.ranks.empty() ? op.check_ranks(arguments_.all) : arguments_.ranks;
    for (const std::string& text : shapes) {
      WEFT_ASSIGN_OR_RETURN(const Shape shape, op.parse_shape(text));
      for (int ranks : ranks_to_try) {
        launch_.ranks = ranks;
        bool first = true;
        for (const Variant& variant : op.variants(shape, row, ranks, arguments_.seed)) {
          // Starting processes costs more than most cases: one of each kind is enough.
          if (mixed_) launch_.kind = first ? RankKind::kProcesses : RankKind::kThreads;
          check_variant(variant, totals);
          first = false;
        }
      }
    }
    return {};
  }

  void check_variant(const Variant& variant, Totals* totals) {
    const Outcome outcome = run_case(launch_, variant, arguments_.all ? kBudgetOfAll : kBudget);
    totals->add({1, outcome.ok() ? 0 : 1, outcome.status.ok() ? outcome.verdict.worst : 0});
    if (!arguments_.all || !outcome.ok()) print_case(outcome, variant.text(launch_.ranks));
  }

  const Arguments& arguments_;
  LaunchOptions launch_;
  bool mixed_;
};

Status check_one(const Arguments& arguments, Checker& checker, Totals* totals) {
  if (arguments.op.empty())
    return Status(StatusCode::kInvalidArgument, "name an operator, or pass --all.");
  WEFT_ASSIGN_OR_RETURN(const Operator* const op, find_operator(arguments.op));
  std::vector<const DTypeRow*> rows;
  for (const std::string& name : arguments.rows) {
    WEFT_ASSIGN_OR_RETURN(const DTypeRow* row, op->find_row(name));
    rows.push_back(row);
  }
  if (rows.empty())
    for (const DTypeRow& row : op->traits().rows) rows.push_back(&row);
  // A mistake in the last shape must not come up after minutes.
  for (const std::string& text : arguments.shapes)
    WEFT_RETURN_IF_ERROR(op->parse_shape(text).status());
  return checker.check_operator(*op, rows, totals);
}

Status check_all(const Arguments& arguments, Checker& checker, Totals* totals) {
  if (!arguments.op.empty() || !arguments.rows.empty())
    return Status(StatusCode::kInvalidArgument,
                  "--all checks every row of every operator: leave the operator and --row out.");
  Table table({"operator", "cases", "failed", "largest error / bound"});
  for (const Operator* op : operators()) {
    std::vector<const DTypeRow*> rows;
    for (const DTypeRow& row : op->traits().rows) rows.push_back(&row);
    Totals of_operator;
    WEFT_RETURN_IF_ERROR(checker.check_operator(*op, rows, &of_operator));
    totals->add(of_operator);
    table.add({std::string(op->name()), fmt::format("{}", of_operator.cases),
               fmt::format("{}", of_operator.failed), fmt::format("{:.3f}", of_operator.worst)});
  }
  fmt::print("\n{}", table.text());
  return {};
}

int check(const Arguments& arguments) {
  Result<LaunchOptions> launch = launch_options(arguments.launch);
  Totals totals;
  Status status = launch.status();
  if (status.ok()) {
    Checker checker(arguments, std::move(launch).value());
    status = arguments.all ? check_all(arguments, checker, &totals)
                           : check_one(arguments, checker, &totals);
  }
  if (!status.ok()) return report_failure(status);
  fmt::print("{} cases, {} failed; largest error {:.3f} of its bound\n", totals.cases,
             totals.failed, totals.worst);
  return totals.failed == 0 ? 0 : kFailedExit;
}

}  // namespace

void add_check(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  Command& command = line.add_command("check", "Compare operators with their references",
                                      [arguments] { return check(*arguments); });
  add_operator(command, arguments->op);
  command
      .add(
          "shapes", arguments->shapes,
          "Shapes: MxK:KxN or BxSxK:KxN; of a norm MxN; of ffn MxK:HIDDENxN; of moe operators BSxH")
      .type("SHAPE ...");
  command.add("--all", arguments->all, "Every row of every operator");
  command
      .add("--ranks", arguments->ranks,
           "Numbers of ranks to try (1,2,3,4,8; with --all 1,2,3,8; of ffn 1)")
      .with_commas()
      .range(1, 4096);
  command.add("--row", arguments->rows, "Rows of dtypes to try (all of them)").with_commas();
  command.add("--seed", arguments->seed, "Seed of the operands").show_default();
  add_launch_options(command, arguments->launch, false);
  arguments->command = &command;
  command.footer(kFooter);
}

}  // namespace weft::tools
