// SPDX-License-Identifier: Apache-2.0
// Calls with random operands: every legal combination of dtypes and optional operands.
#pragma once

#include <cstdint>
#include <string>

#include "operators/operands.h"
#include "operators/operator.h"
#include "operators/random.h"
#include "operators/shape.h"

namespace weft::tools {

/// One scale for all, one per column (shape (n) or (1, n)), or one per group of k and column.
enum class ScaleShape { kTensor, kColumn, kColumn2d, kGroup };

/// How the rows of x are dealt out to experts.
enum class Deal {
  kEven,
  kSkewed,  ///< half of them to the first, half of the rest to the second, …
  kGaps,    ///< every other expert gets none, the last quarter of the rows is no one's
};

/// What a call of ffn has beside its shape and dtypes.
struct FfnCase {
  FfnAttributes attributes;
  int experts = 0;  ///< 0: one weight for all rows
  Deal deal = Deal::kEven;
  OperandSet transposed;  ///< of weight1 and weight2
};

/// What a call on a mixture of experts has beside its shape and dtypes.
struct MoeCase {
  MoeAttributes attributes;  ///< moe_expert_num 0: 8 for every rank without a shared expert
  int top_k = 0;             ///< experts of a token; 0: 8, or all if they are fewer
  int mask_axes = 2;         ///< of x_active_mask
  bool strays = false;       ///< some ids are of no expert
  bool wide_alphas = false;  ///< const experts have an alpha for every element
};

struct Case {
  Shape shape;
  const DTypeRow* row = nullptr;  ///< tells the operator too
  OperandSet with;                ///< which of row_choices() are made
  ScaleShape scale = ScaleShape::kColumn;
  bool transpose_x2 = false;
  std::int64_t group_size = 32;  ///< with ScaleShape::kGroup
  bool equal_tail = false;       ///< the same residual and gamma on every rank
  FfnCase ffn;
  MoeCase moe;
  double epsilon = 1e-6;
  std::uint64_t seed = 1;

  const Operator& op() const { return operator_of(*row); }
  /// "A6 48x1024:1024x64 ranks 4, scale per column, bias, x2 transposed, seed 1".
  std::string text(int ranks) const;
};

class RandomSource : public OperandSource {
 public:
  /// Without values the operands have their shapes and no defined contents: enough to plan.
  explicit RandomSource(Case c, bool with_values = true)
      : case_(std::move(c)), with_values_(with_values) {}
  Result<Operands> make(int rank, int ranks) const override {
    return case_.op().random(case_, rank, ranks, with_values_);
  }

 private:
  Case case_;
  bool with_values_;
};

}  // namespace weft::tools
