// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "operators/args.h"
#include "operators/random_operands.h"
#include "ops/add_rmsnorm/reference.h"

namespace weft::tools {

template <>
AddRmsNormArgs Operands::args() const {
  return {.x1 = tensor(OperandId::kX1),
          .x2 = tensor(OperandId::kX2),
          .gamma = tensor(OperandId::kGamma),
          .epsilon = epsilon,
          .y = output(0),
          .rstd = output(1),
          .x = output(2)};
}

namespace {

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DTypeRow kRows[] = {
    {"F16", kF16, kF16, kF16, kF16, kF16},
    {"BF16", kBf16, kBf16, kBf16, kBf16, kBf16},
    {"F32", kF32, kF32, kF32, kF32, kF32},
};

class Planned : public PlannedCall {
 public:
  explicit Planned(AddRmsNorm op) : op_(std::move(op)) {}
  Status run(const Operands& operands) override { return op_.run(operands.args<AddRmsNormArgs>()); }
  std::string describe() const override { return op_.describe(); }

 private:
  AddRmsNorm op_;
};

class Tool : public Operator {
 public:
  Tool()
      : Operator({.name = "add_rmsnorm",
                  .formula = "x = x1 + x2; y = rmsnorm(x) gamma; each rank on its own",
                  .required = {OperandId::kX1, OperandId::kX2, OperandId::kGamma},
                  .outputs = {{.name = "y"},
                              {.name = "rstd", .optional = true},
                              {.name = "x", .in_place = OperandId::kX1}},
                  .rows = kRows,
                  .products = false,
                  .matmul = false,
                  .collective = false}) {}

  Result<Shape> parse_shape(std::string_view text) const override { return parse_norm_shape(text); }

  std::vector<std::string> check_shapes(const DTypeRow&) const override {
    return {"1x96", "2x19x264", "67x1000", "3x5x4x33:4x33", "5x3x70:5x3x70", "2x9000"};
  }

  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    RandomOperands made(c, rank, ranks, with_values);
    std::vector<std::int64_t> dims = c.shape.rows;
    dims.insert(dims.end(), c.shape.gamma.begin(), c.shape.gamma.end());
    made.add(OperandId::kX1, dims, -2, 2);
    made.add(OperandId::kX2, dims, -2, 2);
    made.add(OperandId::kGamma, c.shape.gamma, 0.5, 1.5);
    return made.take();
  }

  Extents extents(const Operands& operands, int) const override {
    const ConstTensorRef& x1 = operands.tensor(OperandId::kX1);
    const ConstTensorRef& gamma = operands.tensor(OperandId::kGamma);
    Extents e;
    e.n = gamma.elements();
    e.m = 1;
    for (int i = 0; i < x1.rank() - gamma.rank(); ++i) e.m *= x1.dim(i);
    e.rows = e.m;
    return e;
  }

  double bytes_moved(const Operands& operands, int) const override {
    const ConstTensorRef& x1 = operands.tensor(OperandId::kX1);
    // x1 and x2 read, x and y written.
    return 4 * static_cast<double>(bytes_of(x1.dtype(), x1.elements()));
  }

  bool same_on_all_ranks(const Case&) const override { return false; }

  Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group&, const Operands& operands,
                                            Trace*) const override {
    WEFT_ASSIGN_OR_RETURN(AddRmsNorm op,
                          AddRmsNorm::plan(context, operands.args<AddRmsNormArgs>()));
    return std::unique_ptr<PlannedCall>(new Planned(std::move(op)));
  }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    return ops::check_row(ranks[static_cast<std::size_t>(rank)].args<AddRmsNormArgs>(), row);
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    const ConstTensorRef& x1 = operands.tensor(OperandId::kX1);
    std::vector<std::int64_t> rstd(x1.dims().begin(), x1.dims().end());
    const auto normalised =
        std::min<std::size_t>(rstd.size(), operands.tensor(OperandId::kGamma).dims().size());
    std::fill(rstd.end() - static_cast<std::ptrdiff_t>(normalised), rstd.end(), 1);
    return {x1, {nullptr, DType::kFloat32, rstd}, x1};
  }
};

}  // namespace

const Operator& add_rmsnorm_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
