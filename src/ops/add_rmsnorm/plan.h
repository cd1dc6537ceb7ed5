// SPDX-License-Identifier: Apache-2.0
// What plan() decides and run() uses.
#pragma once

#include <cstdint>

#include "base/context_state.h"
#include "base/row_offsets.h"
#include "base/scratch.h"
#include "kernels/rows/rows.h"
#include "ops/add_rmsnorm/contract.h"

namespace weft::internal {

struct AddRmsNormPlan {
  ContextState& context;
  AddRmsNormArgs args;  ///< as planned; the data pointers in it are not used
  const rows::Kernels& kernels;
  std::int64_t rows = 0, n = 0;
  std::int64_t batch = 0;  ///< rows a thread takes at a time
  rows::Store store = rows::Store::kPlain;
  RowOffsets x1, x2, y, rstd, x;
  Scratch scratch;  ///< a row per thread
  std::int64_t scratch_row_bytes = 0;
  Scratch gamma;  ///< gamma with adjacent elements; not there if it has them
};

}  // namespace weft::internal

namespace weft::ops {

/// Computes all rows. The arguments keep the contract.
void run_rows(internal::AddRmsNormPlan& plan, const AddRmsNormArgs& args);

}  // namespace weft::ops
