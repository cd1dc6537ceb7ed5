// SPDX-License-Identifier: Apache-2.0
// Calls of aclnnFFN with memory, and what becomes of them, in double precision. Factors are such
// that the first product is exact in fp32: what is rounded after it is known to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "aclnn_calls.h"

namespace weft::cann {

/// A combination of dtypes that the operator has.
struct FfnRow {
  const char* name;
  aclDataType x, weight, bias, y;
  std::int64_t inner_precise;
  aclDataType deq_scale = ACL_DT_UNDEFINED;  ///< int8 only
  bool per_channel = false;                  ///< `scale` has a value per column
  std::int64_t groups1 = 0, groups2 = 0;     ///< of antiquant scales; 0: per column
  bool is_int8() const { return x == ACL_INT8; }
  bool is_restored() const { return weight != x; }
};
const std::vector<FfnRow>& ffn_rows();
/// By name.
const FfnRow& ffn_row(const std::string& name);

/// One operand: its values in the order of the view, and its memory.
struct FfnOperand {
  aclDataType dtype;
  Dims dims, strides;
  std::vector<double> values;
  std::vector<std::byte> memory;
  Described describe();
};

class FfnCase {
 public:
  struct Options {
    const char* activation = "relu";
    Dims counts = {};  ///< rows of each expert; empty: no experts
    bool transposed_weights = false, biases = true;
    std::int64_t m = 7, k1 = 24, n1 = 40;
    unsigned seed = 1;
  };
  FfnCase(const FfnRow& row, const Options& options);

  /// Of an entry point; V2 is told ends, V1 and V3 counts. The case must outlive the call.
  EntryCall call(const std::string& op);
  /// Every row of an expert is right, and the rest as it was. `slack`: how many units in the last
  /// place the activation may be off.
  void check(double slack = 0) const;

  static constexpr std::byte kUntouched{0x5a};
  const FfnRow row;
  const Options with;
  std::map<std::string, FfnOperand> operands;
  std::vector<std::byte> y;
  std::vector<std::int64_t> tokens;  ///< what V3 reads

 private:
  std::int64_t experts() const { return static_cast<std::int64_t>(with.counts.size()); }
  std::int64_t columns() const;  ///< of what the activation gives: k2
  void make_float();
  void make_int8();
  void make_restored();
  double at(const std::string& name, std::int64_t expert, std::int64_t i) const;
  double weight(int product, std::int64_t expert, std::int64_t k, std::int64_t n) const;
  std::vector<double> first(std::int64_t row_of_x, std::int64_t expert) const;
  std::vector<double> activated(const std::vector<double>& h, std::int64_t expert) const;
  void check_row(std::int64_t r, std::int64_t expert, double slack) const;
};

}  // namespace weft::cann
