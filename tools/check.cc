// SPDX-License-Identifier: Apache-2.0
// weft check: the operator on random operands against the reference in double precision.
#include <fmt/format.h>

#include <memory>

#include "commands.h"
#include "job.h"
#include "options.h"
#include "verify.h"

namespace weft::tools {
namespace {

constexpr const char* kFooter = R"(
One line per case: ok or FAIL, the largest error as a share of its derived bound, and the case.
Without shapes a set of awkward ones is used. Every row of dtypes is tried with and without bias,
row-major and transposed x2, all forms of scales, separate and in-place outputs. Where all ranks
have the same residual and gamma their results must also be the same bits.

Examples:
  weft check matmul_allreduce_add_rmsnorm
  weft check matmul_allreduce_add_rmsnorm 48x1024:1024x4096 --ranks 1,2,4 --row A1,A2
  weft check matmul_allreduce_add_rmsnorm 48x100,70,30:100,70,30x64 --ranks 3 --transport threads)";

// One row; fewer rows than ranks; slices of k of different width; 3-D; more than one tile.
const char* const kShapes[] = {"1x64:64x96", "5x33,64,47,8:33,64,47,8x40", "2x19x128:128x264",
                               "67x256:256x512"};
// Reference products per case: a tenth of a second.
constexpr double kBudget = 5e6;

struct Arguments {
  std::string op;
  std::vector<std::string> shapes;
  std::vector<int> ranks = {1, 2, 3, 4, 8};
  std::vector<std::string> rows;
  LaunchArguments launch;
  std::uint64_t seed = 1;
};

struct Totals {
  int cases = 0, failed = 0;
  double worst = 0;
};

struct Variant {
  Case made;
  bool in_place = false;
};

/// The ways to call one row of dtypes at one shape.
std::vector<Variant> variants(const Shape& shape, const DTypeRow& row, int ranks,
                              std::uint64_t seed) {
  std::int64_t least_k = shape.k_of(0);
  bool even_k = true;
  for (int r = 0; r < ranks; ++r) {
    least_k = std::min(least_k, shape.k_of(r));
    even_k = even_k && shape.k_of(r) % 2 == 0;
  }
  const bool int4 = row.x2 == DType::kInt4;
  std::vector<Variant> list(row.scenario() == ops::Scenario::kFloat ? 2 : 3);
  for (std::size_t v = 0; v < list.size(); ++v) {
    Case& made = list[v].made;
    made.shape = shape;
    made.row = &row;
    made.seed = seed + v;
    made.bias = v > 0;
    made.offset = v > 0;
    // Adjacent int4 weights come in pairs.
    made.transpose_x2 = v == 1 && (!int4 || even_k);
    made.equal_tail = v == 1;
    made.scale = v == 0   ? ScaleShape::kTensor
                 : v == 1 ? ScaleShape::kColumn
                          : ScaleShape::kColumn2d;
    // A group is shorter than k.
    if (v == 2 && row.scenario() == ops::Scenario::kWeightQuant && least_k > made.group_size)
      made.scale = ScaleShape::kGroup;
    list[v].in_place = v == 0;
  }
  return list;
}

struct Outcome {
  Status status;
  Verdict verdict;
  bool same_bits = true;
};

Outcome run_case(const LaunchOptions& launch, const Variant& variant) {
  const RandomSource source(variant.made);
  Job job;
  job.operands = &source;
  job.in_place = variant.in_place;
  job.digests = variant.made.equal_tail;
  job.rows = rows_to_check(variant.made.shape, launch.ranks, kBudget);
  Outcome outcome;
  const Result<std::vector<RankReport>> reports = run_job(launch, job);
  outcome.status = reports.status();
  if (!reports.ok()) return outcome;
  const bool all = static_cast<std::int64_t>(job.rows.size()) == variant.made.shape.m();
  const Result<Verdict> verdict = verify(source, *reports, job.rows, all);
  outcome.status = verdict.status();
  if (verdict.ok()) outcome.verdict = *verdict;
  for (const RankReport& report : *reports)
    outcome.same_bits = outcome.same_bits && report.y_digest == (*reports)[0].y_digest &&
                        report.norm_digest == (*reports)[0].norm_digest;
  return outcome;
}

void print_case(const LaunchOptions& launch, const Variant& variant, const Outcome& outcome,
                Totals* totals) {
  const bool ok = outcome.status.ok() && outcome.verdict.ok() && outcome.same_bits;
  ++totals->cases;
  totals->failed += !ok;
  if (outcome.status.ok()) totals->worst = std::max(totals->worst, outcome.verdict.worst);
  const std::string text = variant.made.text(launch.ranks) + (variant.in_place ? ", in place" : "");
  if (ok) {
    fmt::print("ok    {:6.3f}  {}\n", outcome.verdict.worst, text);
  } else if (!outcome.status.ok()) {
    fmt::print("FAIL       -  {}: {}\n", text, outcome.status.to_string());
  } else if (!outcome.verdict.ok()) {
    fmt::print("FAIL  {:6.3f}  {}: {}\n", outcome.verdict.worst, text, outcome.verdict.where);
  } else {
    fmt::print("FAIL  {:6.3f}  {}: ranks hold different bits\n", outcome.verdict.worst, text);
  }
  std::fflush(stdout);
}

Status check_all(Arguments& arguments, Totals* totals) {
  WEFT_RETURN_IF_ERROR(check_operator(arguments.op));
  WEFT_ASSIGN_OR_RETURN(LaunchOptions launch, launch_options(arguments.launch));
  std::vector<const DTypeRow*> rows;
  for (const std::string& name : arguments.rows) {
    WEFT_ASSIGN_OR_RETURN(const DTypeRow* row, find_dtype_row(name));
    rows.push_back(row);
  }
  if (rows.empty())
    for (const DTypeRow& row : dtype_rows()) rows.push_back(&row);
  if (arguments.shapes.empty()) arguments.shapes.assign(std::begin(kShapes), std::end(kShapes));
  std::vector<Shape> shapes;
  for (const std::string& text : arguments.shapes) {
    WEFT_ASSIGN_OR_RETURN(Shape shape, parse_shape(text));
    shapes.push_back(std::move(shape));
  }
  for (const Shape& shape : shapes) {
    for (const DTypeRow* row : rows) {
      for (int ranks : arguments.ranks) {
        launch.ranks = ranks;
        for (const Variant& variant : variants(shape, *row, ranks, arguments.seed))
          print_case(launch, variant, run_case(launch, variant), totals);
      }
    }
  }
  return {};
}

int check(Arguments& arguments) {
  Totals totals;
  const Status status = check_all(arguments, &totals);
  if (!status.ok()) return report_failure(status);
  fmt::print("{} cases, {} failed; largest error {:.3f} of its bound\n", totals.cases,
             totals.failed, totals.worst);
  return totals.failed == 0 ? 0 : kFailedExit;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("check", "Compare an operator with its reference");
  add_operator(*command, arguments->op);
  command->add_option("shapes", arguments->shapes, "Shapes: MxK:KxN or BxSxK:KxN")
      ->type_name("SHAPE ...");
  command->add_option("--ranks", arguments->ranks, "Numbers of ranks to try")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--row", arguments->rows, "Rows of dtypes to try: A1 to A9 (default: all)")
      ->delimiter(',');
  command->add_option("--seed", arguments->seed, "Seed of the operands")->capture_default_str();
  add_launch_options(*command, arguments->launch, false);
  command->footer(kFooter);
  command->callback([arguments, &action] { action = [arguments] { return check(*arguments); }; });
}

}  // namespace weft::tools
