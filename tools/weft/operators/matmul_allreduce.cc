// SPDX-License-Identifier: Apache-2.0
#include "operators/collective.h"
#include "operators/random_operands.h"
#include "ops/matmul_allreduce/reference.h"

namespace weft::tools {

template <>
MatmulAllReduceArgs Operands::args() const {
  return {.x1 = tensor(OperandId::kX1),
          .x2 = tensor(OperandId::kX2),
          .bias = tensor(OperandId::kBias),
          .x3 = tensor(OperandId::kX3),
          .dequant_scale = tensor(OperandId::kDequantScale),
          .pertoken_scale = tensor(OperandId::kPertokenScale),
          .antiquant_scale = tensor(OperandId::kAntiquantScale),
          .antiquant_offset = tensor(OperandId::kAntiquantOffset),
          .antiquant_group_size = group_size,
          .comm_quant_scale_1 = tensor(OperandId::kCommQuantScale1),
          .comm_quant_scale_2 = tensor(OperandId::kCommQuantScale2),
          .output = output(0)};
}

namespace {

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kI8 = DType::kInt8;
constexpr DTypeRow kRows[] = {
    // name, x1, x2, bias, scale, x3 = output, scale per row
    {"N1", kF16, kF16, kF16, kF16, kF16},
    {"N2", kBf16, kBf16, kBf16, kBf16, kBf16},
    {"Q1", kI8, kI8, DType::kInt32, DType::kUInt64, kF16},
    {"Q2", kI8, kI8, DType::kInt32, DType::kInt64, kF16},
    {"Q3", kI8, kI8, DType::kInt32, kBf16, kBf16},
    {"Q4", kI8, kI8, DType::kInt32, DType::kFloat32, kF16, RowScale::kRequired},
    {"Q5", kI8, kI8, DType::kInt32, kBf16, kBf16, RowScale::kRequired},
    {"W1", kF16, kI8, kF16, kF16, kF16},
    {"W2", kBf16, kI8, kBf16, kBf16, kBf16},
    {"W3", kF16, DType::kInt4, kF16, kF16, kF16},
    {"W4", kBf16, DType::kInt4, kBf16, kBf16, kBf16},
};

class Tool
    : public CollectiveOperator<MatmulAllReduce, MatmulAllReduceArgs, MatmulAllReduceOptions> {
 public:
  Tool()
      : CollectiveOperator({.name = "matmul_allreduce",
                            .formula = "output = sum over ranks of (x1 x2 + bias + x3)",
                            .required = {OperandId::kX1, OperandId::kX2},
                            .optional = {OperandId::kBias, OperandId::kX3, OperandId::kDequantScale,
                                         OperandId::kPertokenScale, OperandId::kAntiquantScale,
                                         OperandId::kAntiquantOffset, OperandId::kCommQuantScale1,
                                         OperandId::kCommQuantScale2},
                            .outputs = {{.name = "output", .in_place = OperandId::kX3}},
                            .rows = kRows,
                            .nz_weights = true}) {}

  std::vector<std::string> check_shapes(const DTypeRow& row) const override {
    std::vector<std::string> shapes = collective_check_shapes();
    // The product of nothing is zero; with int8 it is refused.
    if (row.scenario() != ops::Scenario::kQuant) shapes.push_back("7x0:0x40");
    return shapes;
  }

  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    RandomOperands made(c, rank, ranks, with_values);
    made.add_product();
    std::vector<std::int64_t> dims = c.shape.rows;
    dims.push_back(c.shape.n);
    made.add(OperandId::kX3, dims, -1, 1);
    made.add_comm_scales();
    return made.take();
  }

  double bytes_moved(const Operands& operands, int ranks) const override {
    const Extents e = extents(operands, ranks);
    const double elements = static_cast<double>(e.m) * static_cast<double>(e.n);
    const double communicated = operands[OperandId::kCommQuantScale1].given() ? 1 : 2;
    // Partials written and read, reduced rows written or read; x3, output.
    return elements * (3 * communicated + (operands[OperandId::kX3].given() ? 4 : 2));
  }

  bool same_on_all_ranks(const Case&) const override { return true; }

  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    return ops::check_row(args_of(ranks), rank, row);
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    return {{nullptr, operands.io, product_dims(operands)}};
  }
};

}  // namespace

const Operator& matmul_allreduce_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
