// SPDX-License-Identifier: Apache-2.0
// Random operands of one rank, with values scaled so that results are near 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "operators/cases.h"

namespace weft::tools {

/// Root mean square of integers that take all values of `bits` bits equally often.
inline double spread_of_integers(int bits) { return std::ldexp(1.0, bits - 1) / std::sqrt(3.0); }

/// Each method adds those of its operands that the case has. The first failure is kept for take().
class RandomOperands {
 public:
  RandomOperands(const Case& c, int rank, int ranks, bool with_values);

  /// Values are uniform in [low, high), or what fill() says about the dtype.
  void add(OperandId id, std::vector<std::int64_t> dims, double low, double high);
  /// (k, n) or (experts, k, n), in memory (n, k) if transposed. Values are in [-most, most).
  void add_weight(OperandId id, std::vector<std::int64_t> dims, bool transposed, double most);
  /// The same for the first `rows`. Some of those behind them, which nobody may read, are nan.
  void add_rows(OperandId id, std::vector<std::int64_t> dims, std::int64_t rows, double low,
                double high);
  /// Also without values: plans and predictions read them. There may be more elements than values.
  template <typename T>
  void add_values(OperandId id, std::vector<std::int64_t> dims, const std::vector<T>& values) {
    allocate(id, std::move(dims));
    if (status_.ok() && made_[id].given())
      std::copy(values.begin(), values.end(), reinterpret_cast<T*>(made_[id].memory.data()));
  }
  /// x1, x2, bias and the scales that turn the product into numbers near 1.
  void add_product();
  /// The same on all ranks. Some columns have scales so small that values saturate.
  void add_comm_scales();
  Result<Operands> take();

 private:
  bool wanted(OperandId id) const;
  Random random(OperandId id) const;
  std::byte* allocate(OperandId id, std::vector<std::int64_t> dims);
  std::vector<std::int64_t> scale_dims() const;
  void add_scales();
  void add_comm_scale(OperandId id, double step);

  const Case& case_;
  const DTypeRow& row_;
  int rank_, ranks_;
  bool with_values_;
  double root_k_ = 1;  ///< of k over all ranks
  Operands made_;
  Status status_;
};

}  // namespace weft::tools
