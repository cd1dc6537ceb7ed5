// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>
#include <vector>

#include "base/context_state.h"
#include "base/scratch.h"
#include "kernels/activation/activation.h"
#include "ops/ffn/activation.h"
#include "ops/ffn/contract.h"
#include "ops/grouped_matmul/grouped_matmul.h"

namespace weft::ops {

/// The operands of the two products.
WeightOperands first_weight(const FfnArgs& args);
WeightOperands second_weight(const FfnArgs& args);

/// What the activation is quantised with, as the kernels take it.
struct QuantScale {
  const float* scale = nullptr;
  int step = 0;
  float offset = 0;
};

/// The rows of one expert in the block at hand: of x, and of the activation.
struct Part {
  std::int64_t expert;
  gemm::RowRun x_rows, a_rows;
  QuantScale quant;
};

}  // namespace weft::ops

namespace weft::internal {

struct FfnPlan {
  ContextState& context;
  FfnArgs args;  ///< as planned; the data pointers in it are not used
  FfnOptions options;
  ops::FfnShape shape;
  DType io;                     ///< T
  std::int64_t block_rows = 0;  ///< rows that pass both products together
  activation::ActivateTileFn activate = nullptr;
  ops::GroupedMatmul first, second;

  Scratch a;  ///< the activation: block_rows rows, as the second product reads them
  std::int64_t a_row_bytes = 0;
  Scratch quant;  ///< of every part of a block: the scales it is quantised with
  std::int64_t quant_bytes = 0;
  Scratch dense_y;  ///< rows of y, if those of the caller have no adjacent elements
  rows::Store store = rows::Store::kPlain;

  // Of the run at hand; no vector grows.
  std::vector<std::int64_t> ends;  ///< of each expert's rows
  std::vector<ops::Part> parts;
  std::vector<ops::RowGroup> groups;
};

}  // namespace weft::internal

namespace weft::ops {

/// Computes all rows that an expert has. The arguments keep the contract, `ends` is set.
void run_rows(internal::FfnPlan& plan, const FfnArgs& args);

}  // namespace weft::ops
