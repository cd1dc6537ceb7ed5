// SPDX-License-Identifier: Apache-2.0
// What the references of all operators share: values as double, and errors as shares of bounds.
#pragma once

#include <cstdint>
#include <string_view>

#include "weft/dtype.h"
#include "weft/tensor.h"

namespace weft::ops {

/// How far a row of results is from the reference, as a share of the bound: at most 1 is right. A
/// value that is nan or infinite where the reference is not (or the reverse) counts as infinitely
/// far.
struct RowError {
  double worst = 0;
  std::string_view where;  ///< the output with the worst element

  void add(double share, std::string_view output) {
    if (share <= worst || worst != worst) return;  // nan is worse than any number, and stays
    worst = share;
    where = output;
  }
};

/// |got - want| / bound; 0 for two nan or the same infinity. An infinity of the right sign is right
/// if rounding may overflow, i.e. the bound reaches the largest finite value of the type.
double share_of_bound(double got, double want, double bound, double largest);

/// One element of a tensor of any dtype, by its element index; packed scales give their fp32 value.
double element_value(const ConstTensorRef& tensor, std::int64_t index);
/// Element index of element (i, j) of a matrix, strided or FRACTAL_NZ.
std::int64_t matrix_index(const ConstTensorRef& matrix, std::int64_t i, std::int64_t j);
/// Element index of the first element of a row, counted in row-major order of the axes before
/// `axis`.
std::int64_t row_start(const ConstTensorRef& tensor, int axis, std::int64_t row);
/// The same where rows have one axis, the last.
std::int64_t row_index(const ConstTensorRef& tensor, std::int64_t row);

/// value rounded to T (float16 or bfloat16), once.
double round_to(DType type, double value);
/// Distance that rounding to T can move a value near zero: half a subnormal step.
double subnormal_slack(DType type);
/// Largest finite value of T.
double largest_finite(DType type);

}  // namespace weft::ops
