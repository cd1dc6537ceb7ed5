// SPDX-License-Identifier: Apache-2.0
// One call of matmul_allreduce_add_rmsnorm with random operands, for the tests of the operator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cases.h"
#include "guarded_tensor.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"

namespace weft::testing {

/// How operands lie in memory; false: dense.
struct Layout {
  bool x1_padded = false;   ///< gaps between rows and between batches
  bool x1_swapped = false;  ///< k is the outermost axis in memory
  bool x2_padded = false;
  bool vectors_strided = false;  ///< bias, gamma and all scales
  bool residual_padded = false;
  bool outputs_padded = false;
  bool in_place = false;
};

struct OperatorCase {
  tools::Case operands;
  Layout layout;
  std::int64_t super_block_rows = 0;

  /// All of it, seed included: enough to repeat a failure.
  std::string text(int ranks) const;
};

/// A case of a row ("A6") and a shape; the seed decides all that the two leave open, within what is
/// legal.
OperatorCase random_case(std::string_view row, std::string_view shape, int ranks,
                         std::uint64_t seed);
/// Everything dense, scales per column, no bias.
OperatorCase plain_case(std::string_view row, std::string_view shape, std::uint64_t seed = 1);

/// Operands and outputs of one rank.
class RankData {
 public:
  RankData(const OperatorCase& c, int rank, int ranks);

  /// For plan() and run().
  MatmulAllReduceAddRmsNormArgs args() const;
  /// The same with the residual from before the call, for the reference.
  MatmulAllReduceAddRmsNormArgs reference_args() const;
  GuardedTensor& residual() { return residual_; }
  GuardedTensor& gamma() { return gamma_; }
  const GuardedTensor& y() const { return in_place_ ? residual_ : y_; }
  const GuardedTensor& norm_out() const { return norm_out_; }
  /// y and norm_out, one after the other.
  std::vector<std::uint16_t> bits() const;

  /// Nothing but the elements of the outputs has changed.
  bool guards_intact() const;
  bool outputs_untouched() const { return y().unchanged() && norm_out_.unchanged(); }
  /// Everything as before the first call.
  void reset();

 private:
  bool in_place_;
  GuardedTensor x1_, x2_, bias_, dequant_scale_, antiquant_scale_, antiquant_offset_;
  GuardedTensor residual_, gamma_, y_, norm_out_;
  std::int64_t group_size_ = 0;
  double epsilon_ = 1e-6;
};

using Ranks = std::vector<std::unique_ptr<RankData>>;
Ranks make_ranks(const OperatorCase& c, int ranks);

/// Expects the results of `rank` to be within the bounds of the reference: of all rows, or, if that
/// needs more than `multiplies`, of rows spread over all. And guards and inputs to be unchanged.
void expect_correct(const OperatorCase& c, const Ranks& data, int rank, double multiplies);

/// Windows large enough for every case here, and a deadline that ends a test that hangs.
GroupOptions operator_group_options();

}  // namespace weft::testing
