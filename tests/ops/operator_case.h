// SPDX-License-Identifier: Apache-2.0
// Calls of the matmul + collective operators with random operands, for the tests of all of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "family.h"
#include "guarded_tensor.h"
#include "operators/cases.h"
#include "ops/contract.h"
#include "weft/group.h"

namespace weft::testing {

enum class WeightForm { kStrided, kFractalNz, kPacked };

/// How operands lie in memory; false: dense.
struct Layout {
  bool x1_padded = false;   ///< gaps between rows and between batches
  bool x1_swapped = false;  ///< k is the outermost axis in memory
  bool x2_padded = false;
  bool vectors_strided = false;  ///< bias, gamma and all scales; those per group with k adjacent
  bool rows_padded = false;      ///< x3 and residual
  bool outputs_padded = false;
  bool in_place = false;
  WeightForm weight = WeightForm::kStrided;
};

struct OperatorCase {
  tools::Case operands;
  Layout layout;
  std::int64_t super_block_rows = 0;

  const tools::Operator& op() const { return operands.op(); }
  /// All of it, seed included: enough to repeat a failure.
  std::string text(int ranks) const;
};

/// A case of a row ("A6") and a shape; the seed decides all that the two leave open, within what is
/// legal. A shape that is not legal for the row becomes a legal one near it.
OperatorCase random_case(std::string_view row, std::string_view shape, int ranks,
                         std::uint64_t seed);
/// Everything dense, scales per column, nothing optional.
OperatorCase plain_case(std::string_view row, std::string_view shape, std::uint64_t seed = 1);
/// Adds all that is optional; int8 communication only on request.
void add_options(OperatorCase& c, bool int8_communication = false);
/// The row may travel as int8.
bool can_communicate_int8(std::string_view row);

using Bits = std::vector<std::uint16_t>;

/// Operands and outputs of one rank, guarded.
class RankData {
 public:
  RankData(const OperatorCase& c, int rank, int ranks);
  /// Random operands with the layouts of `args`, whose data is not read.
  template <typename Args>
  RankData(Args args, std::uint64_t seed, int rank);

  /// For plan() and run(). x2 is given also where the call passes it as PackedWeight.
  template <typename Args>
  Args args() const {
    return with_outputs<Args>(inputs(false));
  }
  /// The same with the operands from before the call, for the reference.
  template <typename Args>
  Args reference_args() const {
    return with_outputs<Args>(inputs(true));
  }
  GuardedTensor& operator[](OperandId id) { return operands_[static_cast<std::size_t>(id)]; }
  const GuardedTensor& operator[](OperandId id) const {
    return operands_[static_cast<std::size_t>(id)];
  }
  const GuardedTensor& output(std::size_t i = 0) const {
    return i == 0 && in_place_ ? (*this)[*in_place_] : outputs_[i];
  }
  /// All outputs, one after the other.
  Bits bits() const;

  /// Nothing but the elements of the outputs has changed.
  bool guards_intact() const;
  bool outputs_untouched() const;
  /// Everything as before the first call.
  void reset();

 private:
  tools::Operands inputs(bool original) const;
  void add_random(OperandId id, const ConstTensorRef& like, std::uint64_t seed, int rank);
  void add_output(const ConstTensorRef& like, const std::vector<std::int64_t>& strides);
  template <typename Args>
  Args with_outputs(const tools::Operands& operands) const {
    Args args = operands.args<Args>();
    std::size_t i = 0;
    for (TensorRef* to : Family<Args>::outputs(args)) *to = output(i++).writable();
    return args;
  }

  std::array<GuardedTensor, tools::kOperands> operands_;
  std::vector<GuardedTensor> outputs_;
  std::optional<OperandId> in_place_;  ///< the first output has the memory of this operand
  double epsilon_ = 1e-6;
  std::int64_t group_size_ = 0;
};

using Ranks = std::vector<std::unique_ptr<RankData>>;
Ranks make_ranks(const OperatorCase& c, int ranks);

/// Expects the results of `rank` to be within the bounds of the reference: of all rows, or, if that
/// needs more than `multiplies`, of rows spread over all. And guards and inputs to be unchanged.
template <typename Args>
void expect_correct(const Ranks& data, int rank, double multiplies);
void expect_correct(const OperatorCase& c, const Ranks& data, int rank, double multiplies);

/// Windows large enough for every case here, and a deadline that ends a test that hangs.
GroupOptions operator_group_options();

template <typename Args>
RankData::RankData(Args args, std::uint64_t seed, int rank) {
  const auto outputs = Family<Args>::outputs(args);
  for (const auto& [id, tensor] : Family<Args>::inputs(args)) {
    if (!tensor->given()) continue;
    add_random(id, *tensor, seed, rank);
    if (ops::same_view(*tensor, *outputs[0])) in_place_ = id;
  }
  for (const TensorRef* output : outputs)
    add_output(*output, {output->strides().begin(), output->strides().end()});
  if constexpr (requires { args.epsilon; }) epsilon_ = args.epsilon;
  if constexpr (requires { args.antiquant_group_size; }) group_size_ = args.antiquant_group_size;
}

}  // namespace weft::testing
