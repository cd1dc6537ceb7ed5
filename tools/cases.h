// SPDX-License-Identifier: Apache-2.0
// Random operands: every legal combination of dtypes, values scaled so that results are near 1.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "operands.h"
#include "ops/local_matmul/operands.h"
#include "shape.h"

namespace weft::tools {

/// A legal combination of dtypes. Names are those of the contract: A1 … A9.
struct DTypeRow {
  std::string_view name;
  DType x1, x2, bias, scale, io;

  ops::Scenario scenario() const { return ops::scenario_of(x1, x2); }
};
std::span<const DTypeRow> dtype_rows();
/// kInvalidArgument listing the rows.
Result<const DTypeRow*> find_dtype_row(std::string_view name);

/// One scale for all, one per column (shape (n) or (1, n)), or one per group of k and column.
enum class ScaleShape { kTensor, kColumn, kColumn2d, kGroup };

struct Case {
  Shape shape;
  const DTypeRow* row = nullptr;
  ScaleShape scale = ScaleShape::kColumn;
  bool bias = false;
  bool offset = false;
  bool transpose_x2 = false;
  std::int64_t group_size = 32;  ///< with ScaleShape::kGroup
  bool equal_tail = false;       ///< the same residual and gamma on every rank
  double epsilon = 1e-6;
  std::uint64_t seed = 1;

  /// "A6 48x1024:1024x64 ranks 4 scale column, bias, offset, x2 transposed, seed 1".
  std::string text(int ranks) const;
};

class RandomSource : public OperandSource {
 public:
  /// Without values the operands have their shapes and no defined contents: enough to plan.
  explicit RandomSource(Case c, bool with_values = true)
      : case_(std::move(c)), with_values_(with_values) {}
  Result<Operands> make(int rank, int ranks) const override;

 private:
  Case case_;
  bool with_values_;
};

/// A sequence of random words that depends on its three keys alone.
class Random {
 public:
  Random(std::uint64_t seed, int rank, int stream);
  std::uint64_t next();
  double uniform(double low, double high);  ///< in [low, high)

 private:
  std::uint64_t state_;
};

/// Fills with values of a float type, uniform in [low, high), rounded to nearest.
void fill_floats(Random& random, DType dtype, double low, double high, std::int64_t count,
                 void* to);
/// The 64-bit form of a dequantisation scale: fp32 without its low 13 bits, and bit 46.
std::uint64_t pack_scale(float scale);

}  // namespace weft::tools
