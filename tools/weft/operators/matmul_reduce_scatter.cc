// SPDX-License-Identifier: Apache-2.0
#include "operators/collective.h"
#include "operators/random_operands.h"
#include "ops/matmul_reduce_scatter/reference.h"

namespace weft::tools {

template <>
MatmulReduceScatterArgs Operands::args() const {
  return {.x1 = tensor(OperandId::kX1),
          .x2 = tensor(OperandId::kX2),
          .bias = tensor(OperandId::kBias),
          .x1_scale = tensor(OperandId::kX1Scale),
          .x2_scale = tensor(OperandId::kX2Scale),
          .output = output(0)};
}

namespace {

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kI8 = DType::kInt8;
constexpr DTypeRow kRows[] = {
    // name, x1, x2, bias, x2_scale, output, x1_scale
    {"R1", kF16, kF16, kF16, kF16, kF16},
    {"R2", kBf16, kBf16, kBf16, kBf16, kBf16},
    {"R3", kI8, kI8, DType::kInt32, DType::kInt64, kF16, RowScale::kOptional},
    {"R4", kI8, kI8, DType::kInt32, DType::kFloat32, kF16, RowScale::kRequired},
    {"R5", kI8, kI8, DType::kInt32, DType::kFloat32, kBf16, RowScale::kRequired},
};

class Tool : public CollectiveOperator<MatmulReduceScatter, MatmulReduceScatterArgs,
                                       MatmulReduceScatterOptions> {
 public:
  Tool()
      : CollectiveOperator(
            {.name = "matmul_reduce_scatter",
             .formula = "output = this rank's rows of sum over ranks of (x1 x2 + bias)",
             .required = {OperandId::kX1, OperandId::kX2},
             .optional = {OperandId::kBias, OperandId::kX1Scale, OperandId::kX2Scale},
             .outputs = {{.name = "output"}},
             .rows = kRows,
             .nz_weights = true}) {}

  std::vector<std::string> check_shapes(const DTypeRow&) const override {
    // Rows divide by all the numbers of ranks.
    return {"24x64:64x96", "48x33,64,47,8:33,64,47,8x40", "120x256:256x264", "2064x48:48x136"};
  }

  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    RandomOperands made(c, rank, ranks, with_values);
    made.add_product();
    return made.take();
  }

  Extents extents(const Operands& operands, int ranks) const override {
    Extents e = Operator::extents(operands, ranks);
    e.rows = e.m / ranks;
    return e;
  }
  std::int64_t result_rows(const Case& c, int ranks) const override { return c.shape.m() / ranks; }

  double bytes_moved(const Operands& operands, int ranks) const override {
    const Extents e = extents(operands, ranks);
    // Partials written, those of the rows that this rank gets read, output.
    return 2 * static_cast<double>(e.n) * static_cast<double>(2 * e.m + e.rows);
  }

  bool same_on_all_ranks(const Case&) const override { return false; }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    return ops::check_row(args_of(ranks), rank, row);
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int ranks) const override {
    std::vector<std::int64_t> dims = product_dims(operands);
    if (!dims.empty()) dims[0] /= ranks;
    return {{nullptr, operands.io, dims}};
  }
};

}  // namespace

const Operator& matmul_reduce_scatter_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
