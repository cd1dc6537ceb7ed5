// SPDX-License-Identifier: Apache-2.0
// What the commands know about an operator: its operands, rows of dtypes and outputs, and how to
// make, plan, call and check it. The commands themselves treat all operators alike.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/operands.h"
#include "operators/shape.h"
#include "ops/local_matmul/operands.h"
#include "ops/reference_bounds.h"
#include "weft/context.h"
#include "weft/group.h"
#include "weft/trace.h"

namespace weft::tools {

struct Case;
struct Variant;

/// Whether a row has one factor per row of x1: pertoken_scale or x1_scale.
enum class RowScale { kNone, kOptional, kRequired };

/// A legal combination of dtypes. Names are those of the contracts and tell the operator too: A1 is
/// one of matmul_allreduce_add_rmsnorm.
struct DTypeRow {
  std::string_view name;
  DType x1, x2, bias, scale, io;
  RowScale row_scale = RowScale::kNone;
  bool fast = false;  ///< ffn: inner_precise is 1
  bool gate = false;  ///< ffn: with the activations that have a gate

  ops::Scenario scenario() const { return ops::scenario_of(x1, x2); }
};

struct OutputTraits {
  std::string_view name;
  std::optional<OperandId> in_place = std::nullopt;  ///< may be this operand's memory
  bool optional = false;
  bool whole = false;  ///< it has no rows: checked in one piece
};

struct OperatorTraits {
  std::string_view name;
  std::string_view formula;
  std::vector<OperandId> required;  ///< with every row of dtypes
  std::vector<OperandId> optional;  ///< needed by some rows, or not at all
  std::vector<OutputTraits> outputs;
  std::span<const DTypeRow> rows;
  bool products = true;     ///< work is counted in operations, not in bytes
  bool matmul = true;       ///< x2 is a weight
  bool collective = true;   ///< the ranks communicate, calls can be traced
  bool nz_weights = false;  ///< x2 may be FRACTAL_NZ
};

/// Which memory the outputs get.
enum class OutputForm { kSeparate, kInPlace, kRequiredOnly };

struct Extents {
  std::int64_t m = 0, k = 0, n = 0;  ///< k = 0 without a product
  std::int64_t rows = 0;             ///< of the outputs of one rank that have rows
  double flops = 0;                  ///< of the products of one rank
};

/// An operator planned for the operands of one rank.
class PlannedCall {
 public:
  virtual ~PlannedCall() = default;
  virtual Status run(const Operands& operands) = 0;
  virtual std::string describe() const = 0;
  /// What its user should know about the operands of the last call; empty if nothing.
  virtual std::string remark() const { return {}; }
};

/// The same job without a fused operator.
class SeparatePasses {
 public:
  virtual ~SeparatePasses() = default;
  virtual Status run(const Operands& operands) = 0;
  virtual void gemm(const Operands& operands) = 0;  ///< the first of them
};

/// Compares what all ranks have with the reference; many threads may ask.
class Checker {
 public:
  virtual ~Checker() = default;
  /// Row `row` of the outputs of a rank.
  virtual ops::RowError row(int rank, std::int64_t row) const = 0;
  /// The outputs of a rank that have no rows.
  virtual ops::RowError whole(int rank) const = 0;
};

class Operator {
 public:
  explicit Operator(OperatorTraits traits) : traits_(std::move(traits)) {}
  virtual ~Operator() = default;

  const OperatorTraits& traits() const { return traits_; }
  std::string_view name() const { return traits_.name; }
  bool has(OperandId id) const;
  /// "--x1 --x2 [--bias]".
  std::string operands_text() const;
  /// What an operand holds in a row of dtypes; nullopt if the row goes without it.
  std::optional<DType> dtype(const DTypeRow& row, OperandId id) const;
  /// The operands that a call with these dtypes may have or go without.
  std::vector<OperandId> row_choices(const DTypeRow& row) const;
  /// kInvalidArgument listing the rows.
  Result<const DTypeRow*> find_row(std::string_view name) const;
  /// The operand whose memory an output may have.
  std::optional<OperandId> in_place_operand() const;
  std::vector<OutputSpec> outputs(const Operands& operands, int ranks, OutputForm form) const;

  /// Of the shapes of all ranks: what no plan can see, because it is about other ranks or about the
  /// size of an output. kInvalidArgument.
  virtual Status check_shapes_of_ranks(std::span<const Operands> ranks) const;
  /// Files of this dtype can be this operand where the io dtype is `io`.
  virtual bool takes(OperandId id, DType of_file, DType io) const;
  /// What a case has of its own, each behind a comma: ", swiglu, 3 experts".
  virtual std::string settings(const Case& c) const;

  virtual Result<Shape> parse_shape(std::string_view text) const;
  /// Awkward shapes that are legal for this row and any of the numbers of ranks `weft check` tries.
  virtual std::vector<std::string> check_shapes(const DTypeRow& row) const = 0;
  /// The numbers of ranks that `weft check` tries; fewer among `all` operators.
  virtual std::vector<int> check_ranks(bool all) const;
  /// The ways to call a row at a shape that `weft check` tries.
  virtual std::vector<Variant> variants(const Shape& shape, const DTypeRow& row, int ranks,
                                        std::uint64_t seed) const;
  virtual Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const = 0;
  /// Of operands that a plan has accepted.
  virtual Extents extents(const Operands& operands, int ranks) const;
  /// Rows of the outputs of one rank, of that with most.
  virtual std::int64_t result_rows(const Case& c, int ranks) const;
  /// That the reference needs at most for one of them.
  virtual double multiplies_of_row(const Case& c, int ranks) const;
  /// Of the products of all ranks.
  virtual double flops(const Case& c, int ranks) const;
  /// Bytes that a rank must move; of a matmul beside its product.
  virtual double bytes_moved(const Operands& operands, int ranks) const = 0;
  /// All ranks get the same bits.
  virtual bool same_on_all_ranks(const Case& c) const = 0;

  virtual Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group& group,
                                                    const Operands& operands,
                                                    Trace* trace) const = 0;
  /// Null if nobody wrote them.
  virtual Result<std::unique_ptr<SeparatePasses>> separate_passes(Context& context, Group& group,
                                                                  const Operands& operands) const;
  /// Of operands and outputs that outlive it. By default it asks check_row().
  virtual std::unique_ptr<Checker> checker(std::span<const Operands> ranks) const;

 protected:
  /// Row `row` of the outputs of ranks[rank].
  virtual ops::RowError check_row(std::span<const Operands> ranks, int rank,
                                  std::int64_t row) const = 0;
  /// Shapes of all outputs in the order of traits().outputs, also for operands that no plan
  /// accepts: refusing them is the plan's business.
  virtual std::vector<ConstTensorRef> output_shapes(const Operands& operands, int ranks) const = 0;

 private:
  OperatorTraits traits_;
};

/// In the order of the help texts.
std::span<const Operator* const> operators();
/// kInvalidArgument with the list of operators.
Result<const Operator*> find_operator(std::string_view name);
/// Among the rows of all operators.
Result<const DTypeRow*> find_dtype_row(std::string_view name);
const Operator& operator_of(const DTypeRow& row);

// One file each.
const Operator& matmul_allreduce_operator();
const Operator& matmul_allreduce_add_rmsnorm_operator();
const Operator& matmul_reduce_scatter_operator();
const Operator& add_rmsnorm_operator();
const Operator& ffn_operator();
const Operator& moe_dispatch_operator();
const Operator& moe_combine_operator();
const Operator& moe_combine_add_rmsnorm_operator();

}  // namespace weft::tools
