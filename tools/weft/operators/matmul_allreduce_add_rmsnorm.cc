// SPDX-License-Identifier: Apache-2.0
#include "operators/collective.h"
#include "operators/random_operands.h"
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"
#include "unfused/unfused.h"

namespace weft::tools {

template <>
MatmulAllReduceAddRmsNormArgs Operands::args() const {
  return {.x1 = tensor(OperandId::kX1),
          .x2 = tensor(OperandId::kX2),
          .bias = tensor(OperandId::kBias),
          .dequant_scale = tensor(OperandId::kDequantScale),
          .antiquant_scale = tensor(OperandId::kAntiquantScale),
          .antiquant_offset = tensor(OperandId::kAntiquantOffset),
          .antiquant_group_size = group_size,
          .residual = tensor(OperandId::kResidual),
          .gamma = tensor(OperandId::kGamma),
          .epsilon = epsilon,
          .y = output(0),
          .norm_out = output(1)};
}

namespace {

using Args = MatmulAllReduceAddRmsNormArgs;

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kI8 = DType::kInt8;
constexpr DTypeRow kRows[] = {
    // name, x1, x2, bias, scale, residual = gamma = y = norm_out
    {"A1", kF16, kF16, kF16, kF16, kF16},
    {"A2", kBf16, kBf16, kBf16, kBf16, kBf16},
    {"A3", kI8, kI8, DType::kInt32, DType::kUInt64, kF16},
    {"A4", kI8, kI8, DType::kInt32, DType::kInt64, kF16},
    {"A5", kI8, kI8, DType::kInt32, kBf16, kBf16},
    {"A6", kF16, kI8, kF16, kF16, kF16},
    {"A7", kBf16, kI8, kBf16, kBf16, kBf16},
    {"A8", kF16, DType::kInt4, kF16, kF16, kF16},
    {"A9", kBf16, DType::kInt4, kBf16, kBf16, kBf16},
};

class Passes : public SeparatePasses {
 public:
  explicit Passes(bench::Unfused unfused) : unfused_(std::move(unfused)) {}
  Status run(const Operands& operands) override { return unfused_.run(operands.args<Args>()); }
  void gemm(const Operands& operands) override { unfused_.gemm(operands.args<Args>()); }

 private:
  bench::Unfused unfused_;
};

class Tool
    : public CollectiveOperator<MatmulAllReduceAddRmsNorm, Args, MatmulAllReduceAddRmsNormOptions> {
 public:
  Tool()
      : CollectiveOperator(
            {.name = "matmul_allreduce_add_rmsnorm",
             .formula =
                 "y = sum over ranks of (x1 x2 + bias) + residual; norm_out = rmsnorm(y) gamma",
             .required = {OperandId::kX1, OperandId::kX2, OperandId::kResidual, OperandId::kGamma},
             .optional = {OperandId::kBias, OperandId::kDequantScale, OperandId::kAntiquantScale,
                          OperandId::kAntiquantOffset},
             .outputs = {{.name = "y", .in_place = OperandId::kResidual}, {.name = "norm_out"}},
             .rows = kRows,
             .nz_weights = true}) {}

  std::vector<std::string> check_shapes(const DTypeRow&) const override {
    return collective_check_shapes();
  }

  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    RandomOperands made(c, rank, ranks, with_values);
    made.add_product();
    // residual is always 3-D, also for a 2-D x1.
    std::vector<std::int64_t> dims = c.shape.rows;
    if (dims.size() == 1) dims.insert(dims.begin(), 1);
    dims.push_back(c.shape.n);
    made.add(OperandId::kResidual, dims, -2, 2);
    made.add(OperandId::kGamma, {c.shape.n}, 0.5, 1.5);
    return made.take();
  }

  double bytes_moved(const Operands& operands, int ranks) const override {
    const Extents e = extents(operands, ranks);
    // Partials written, those of the own rows read, the reduced rows written or read, the residual
    // read, y and norm_out written.
    return 6 * 2.0 * static_cast<double>(e.m) * static_cast<double>(e.n);
  }

  bool same_on_all_ranks(const Case& c) const override { return c.equal_tail; }

  Result<std::unique_ptr<SeparatePasses>> separate_passes(Context& context, Group& group,
                                                          const Operands& operands) const override {
    WEFT_ASSIGN_OR_RETURN(bench::Unfused unfused,
                          bench::Unfused::plan(context, group, operands.args<Args>()));
    return std::unique_ptr<SeparatePasses>(new Passes(std::move(unfused)));
  }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    return ops::check_row(args_of(ranks), rank, row);
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    return {operands.tensor(OperandId::kResidual), operands.tensor(OperandId::kResidual)};
  }
};

}  // namespace

const Operator& matmul_allreduce_add_rmsnorm_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
