// SPDX-License-Identifier: Apache-2.0
#include "operators/operator.h"

#include <fmt/core.h>

#include <algorithm>

#include "operators/cases.h"

namespace weft::tools {
namespace {

std::string dtypes_text(const Operator& op, const DTypeRow& row) {
  if (op.has(OperandId::kExpertIds))
    return fmt::format("{} {}", op.has(OperandId::kX) ? "x" : "expand_x", to_string(row.x1));
  const bool ffn = op.has(OperandId::kWeight1);
  std::string text = fmt::format("{} {}, {} {}", ffn ? "x" : "x1", to_string(row.x1),
                                 ffn ? "weights" : "x2", to_string(row.x2));
  if (ffn || op.has(OperandId::kBias))
    text += fmt::format(", {} {}", ffn ? "biases" : "bias", to_string(row.bias));
  if (op.traits().products)
    text += fmt::format(", scale {}",
                        row.scenario() == ops::Scenario::kFloat ? "none" : to_string(row.scale));
  if (row.row_scale == RowScale::kRequired) text += ", a scale per row";
  if (row.fast) text += ", inner_precise 1";
  if (row.gate) text += ", with a gate";
  return text + fmt::format(", the rest {}", to_string(row.io));
}

Status no_row(std::string_view name, std::span<const Operator* const> among) {
  std::string rows;
  for (const Operator* op : among) {
    for (const DTypeRow& row : op->traits().rows)
      rows += fmt::format("\n  {}  {}", row.name, dtypes_text(*op, row));
  }
  return Status(StatusCode::kInvalidArgument,
                fmt::format("there is no row '{}'. The rows are:{}", name, rows));
}

}  // namespace

bool Operator::has(OperandId id) const {
  return std::ranges::count(traits_.required, id) + std::ranges::count(traits_.optional, id) > 0;
}

std::string Operator::operands_text() const {
  std::string text;
  for (OperandId id : traits_.required) text += option_name(id) + " ";
  for (OperandId id : traits_.optional) text += fmt::format("[{}] ", option_name(id));
  text.pop_back();
  return text;
}

std::optional<DType> Operator::dtype(const DTypeRow& row, OperandId id) const {
  if (!has(id)) return std::nullopt;
  const auto when = [](bool taken, DType dtype) {
    return taken ? std::optional<DType>(dtype) : std::nullopt;
  };
  const ops::Scenario scenario = row.scenario();
  switch (id) {
    case OperandId::kX1:
    case OperandId::kX:
      return row.x1;
    case OperandId::kX2:
    case OperandId::kWeight1:
    case OperandId::kWeight2:
      return row.x2;
    case OperandId::kExpertTokens:
      return DType::kInt64;
    case OperandId::kExpertIds:
    case OperandId::kAssistInfoForCombine:
    case OperandId::kEpSendCounts:
      return DType::kInt32;
    case OperandId::kScales:
    case OperandId::kExpertScales:
      return DType::kFloat32;
    case OperandId::kXActiveMask:
      return DType::kBool;
    case OperandId::kBias:
    case OperandId::kBias1:
    case OperandId::kBias2:
      return row.bias;
    case OperandId::kScale:
    case OperandId::kOffset:
      return when(scenario == ops::Scenario::kQuant, DType::kFloat32);
    case OperandId::kDequantScale:
    case OperandId::kX2Scale:
    case OperandId::kDeqScale1:
    case OperandId::kDeqScale2:
      return when(scenario == ops::Scenario::kQuant, row.scale);
    case OperandId::kAntiquantScale:
    case OperandId::kAntiquantOffset:
    case OperandId::kAntiquantScale1:
    case OperandId::kAntiquantScale2:
    case OperandId::kAntiquantOffset1:
    case OperandId::kAntiquantOffset2:
      return when(scenario == ops::Scenario::kWeightQuant, row.scale);
    case OperandId::kPertokenScale:
    case OperandId::kX1Scale:
      return when(row.row_scale != RowScale::kNone, DType::kFloat32);
    case OperandId::kCommQuantScale1:
    case OperandId::kCommQuantScale2:
      return when(scenario == ops::Scenario::kQuant, row.io);
    default:
      return row.io;
  }
}

std::vector<OperandId> Operator::row_choices(const DTypeRow& row) const {
  constexpr OperandSet kNeeded = {
      OperandId::kDequantScale,
      OperandId::kX2Scale,
      OperandId::kAntiquantScale,
      OperandId::kScale,
      OperandId::kOffset,
      OperandId::kDeqScale1,
      OperandId::kDeqScale2,
      OperandId::kAntiquantScale1,
      OperandId::kAntiquantScale2,
      OperandId::kExpertTokens,  // by a case with experts
      OperandId::kOriX,
      OperandId::kConstExpertAlpha1,
      OperandId::kConstExpertAlpha2,
      OperandId::kConstExpertV};  // by a case with copy or const experts
  constexpr OperandSet kRowScales = {OperandId::kPertokenScale, OperandId::kX1Scale};
  std::vector<OperandId> choices;
  for (OperandId id : traits_.optional) {
    if (!dtype(row, id) || kNeeded.has(id)) continue;
    if (kRowScales.has(id) && row.row_scale == RowScale::kRequired) continue;
    choices.push_back(id);
  }
  return choices;
}

Result<const DTypeRow*> Operator::find_row(std::string_view name) const {
  for (const DTypeRow& row : traits_.rows)
    if (row.name == name) return &row;
  const Operator* const self[] = {this};
  return no_row(name, self);
}

std::optional<OperandId> Operator::in_place_operand() const {
  for (const OutputTraits& output : traits_.outputs)
    if (output.in_place) return output.in_place;
  return std::nullopt;
}

std::vector<OutputSpec> Operator::outputs(const Operands& operands, int ranks,
                                          OutputForm form) const {
  const std::vector<ConstTensorRef> shapes = output_shapes(operands, ranks);
  std::vector<OutputSpec> specs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const OutputTraits& output = traits_.outputs[i];
    OutputSpec& spec = specs.emplace_back(OutputSpec{output.name, shapes[i]});
    if (form == OutputForm::kInPlace) spec.in_place = output.in_place;
    if (form == OutputForm::kRequiredOnly && output.optional) spec.like = {};
  }
  return specs;
}

bool Operator::takes(OperandId id, DType of_file, DType io) const {
  return std::ranges::any_of(
      traits_.rows, [&](const DTypeRow& row) { return row.io == io && dtype(row, id) == of_file; });
}

std::string Operator::settings(const Case&) const { return {}; }

std::vector<int> Operator::check_ranks(bool all) const {
  return all ? std::vector{1, 2, 3, 8} : std::vector{1, 2, 3, 4, 8};
}

double Operator::flops(const Case& c, int ranks) const { return c.shape.flops(ranks); }

Result<Shape> Operator::parse_shape(std::string_view text) const {
  return tools::parse_shape(text);
}

Extents Operator::extents(const Operands& operands, int) const {
  const std::int64_t m = ops::rows_of(operands.tensor(OperandId::kX1));
  const ConstTensorRef& x2 = operands.tensor(OperandId::kX2);
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(x2.elements());
  return {m, x2.dim(0), x2.dim(1), m, flops};
}

std::int64_t Operator::result_rows(const Case& c, int) const { return c.shape.m(); }

double Operator::multiplies_of_row(const Case& c, int ranks) const {
  return c.shape.multiplies_of_row(ranks);
}

std::unique_ptr<Checker> Operator::checker(std::span<const Operands> ranks) const {
  class Rows : public Checker {
   public:
    Rows(const Operator& op, std::span<const Operands> ranks) : op_(op), ranks_(ranks) {}
    ops::RowError row(int rank, std::int64_t row) const override {
      return op_.check_row(ranks_, rank, row);
    }
    ops::RowError whole(int) const override { return {}; }

   private:
    const Operator& op_;
    std::span<const Operands> ranks_;
  };
  return std::make_unique<Rows>(*this, ranks);
}

Status Operator::check_shapes_of_ranks(std::span<const Operands>) const { return {}; }

Result<std::unique_ptr<SeparatePasses>> Operator::separate_passes(Context&, Group&,
                                                                  const Operands&) const {
  return std::unique_ptr<SeparatePasses>();
}

std::span<const Operator* const> operators() {
  static const Operator* const kOperators[] = {&matmul_allreduce_operator(),
                                               &matmul_allreduce_add_rmsnorm_operator(),
                                               &matmul_reduce_scatter_operator(),
                                               &add_rmsnorm_operator(),
                                               &ffn_operator(),
                                               &moe_dispatch_operator(),
                                               &moe_combine_operator(),
                                               &moe_combine_add_rmsnorm_operator()};
  return kOperators;
}

Result<const Operator*> find_operator(std::string_view name) {
  std::string names;
  for (const Operator* op : operators()) {
    if (op->name() == name) return op;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", op->name());
  }
  return Status(StatusCode::kInvalidArgument,
                fmt::format("unknown operator '{}'.\nKnown operators: {}.", name, names));
}

Result<const DTypeRow*> find_dtype_row(std::string_view name) {
  for (const Operator* op : operators()) {
    const Result<const DTypeRow*> row = op->find_row(name);
    if (row.ok()) return row;
  }
  return no_row(name, operators());
}

const Operator& operator_of(const DTypeRow& row) {
  const auto found = std::ranges::find_if(operators(), [&](const Operator* op) {
    const std::span<const DTypeRow> rows = op->traits().rows;
    return &row >= rows.data() && &row < rows.data() + rows.size();
  });
  return **found;
}

}  // namespace weft::tools
