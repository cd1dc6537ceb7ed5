// SPDX-License-Identifier: Apache-2.0
// The operands and outputs of one rank of a call, each in its own memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/memory.h"
#include "weft/context.h"
#include "weft/ops/ffn.h"
#include "weft/ops/moe_experts.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::tools {

/// The operands of all operators together; each operator has some of them.
enum class OperandId {
  kX1,
  kX2,
  kBias,
  kX3,
  kDequantScale,
  kPertokenScale,
  kAntiquantScale,
  kAntiquantOffset,
  kCommQuantScale1,
  kCommQuantScale2,
  kX1Scale,
  kX2Scale,
  kResidual,
  kGamma,
  kX,
  kWeight1,
  kWeight2,
  kExpertTokens,
  kBias1,
  kBias2,
  kScale,
  kOffset,
  kDeqScale1,
  kDeqScale2,
  kAntiquantScale1,
  kAntiquantScale2,
  kAntiquantOffset1,
  kAntiquantOffset2,
  kExpertIds,
  kScales,
  kXActiveMask,
  kExpandX,
  kAssistInfoForCombine,
  kEpSendCounts,
  kExpertScales,
  kSharedExpertX,
  kResidualX,
  kOriX,
  kConstExpertAlpha1,
  kConstExpertAlpha2,
  kConstExpertV,
  kCount
};
inline constexpr int kOperands = static_cast<int>(OperandId::kCount);
std::string_view to_string(OperandId id);  ///< "dequant_scale"
std::string option_name(OperandId id);     ///< "--dequant-scale"
/// "dequant_scale" or "dequant-scale"; nullopt for an unknown name.
std::optional<OperandId> operand_from_name(std::string_view name);

class OperandSet {
 public:
  constexpr OperandSet() = default;
  constexpr OperandSet(std::initializer_list<OperandId> ids) {
    for (OperandId id : ids) add(id);
  }
  constexpr void add(OperandId id) { bits_ |= bit(id); }
  constexpr bool has(OperandId id) const { return (bits_ & bit(id)) != 0; }

 private:
  static_assert(kOperands <= 64);
  static constexpr std::uint64_t bit(OperandId id) {
    return std::uint64_t{1} << static_cast<int>(id);
  }
  std::uint64_t bits_ = 0;
};

struct Operand {
  std::string source;     ///< the file it came from, or "random"
  Buffer memory;          ///< dense, in the order of the file; or a FRACTAL_NZ image
  ConstTensorRef tensor;  ///< the logical view of it; not given if there is no such operand

  bool given() const { return tensor.given(); }
};

/// What an output looks like, and the operand whose memory it takes when it has none of its own.
struct OutputSpec {
  std::string_view name;
  ConstTensorRef like;  ///< dtype and extents; not given: the call goes without this output
  std::optional<OperandId> in_place = std::nullopt;
};

/// The attributes of ffn, its option among them.
struct FfnAttributes {
  Activation activation = Activation::kGelu;
  InnerPrecise inner_precise = InnerPrecise::kHighPrecision;
  bool tokens_are_ends = false;
  bool gate_is_left = false;
};

/// The attributes of a mixture of experts.
struct MoeAttributes {
  MoeExperts experts;
  std::int64_t global_bs = 0;       ///< most tokens of a rank times the ranks; 0: all have the same
  bool quantise = false;            ///< of dispatch: expand_x is int8
  bool tokens_are_ends = false;     ///< of dispatch
  bool int8_communication = false;  ///< of the combines
};

class Operands {
 public:
  Operand& operator[](OperandId id) { return operands_[static_cast<std::size_t>(id)]; }
  const Operand& operator[](OperandId id) const { return operands_[static_cast<std::size_t>(id)]; }
  const ConstTensorRef& tensor(OperandId id) const { return (*this)[id].tensor; }

  /// Allocates an operand with these extents, dense; the caller fills data().
  static Result<Operand> make(OperandId id, DType dtype, std::vector<std::int64_t> dims);

  /// Stores x2 as FRACTAL_NZ: the image of what lies in memory, so of (n, k) when it is transposed.
  Status store_x2_as_nz(Context& context);

  /// An output in place writes to an operand's memory; restore() brings back what that held.
  Status make_outputs(const std::vector<OutputSpec>& specs);
  void restore();
  int outputs() const { return static_cast<int>(outputs_.size()); }
  /// Not given before make_outputs(), and if the call goes without it.
  TensorRef output(int i) const {
    return i < outputs() ? outputs_[static_cast<std::size_t>(i)].tensor : TensorRef();
  }

  /// The arguments of an operator; each has its own specialisation.
  template <typename Args>
  Args args() const;

  /// "x1 float16 (4, 8) from d/x1_0.npy; x2 …": for the message of a refused call.
  std::string describe() const;

  DType io = DType::kFloat16;  ///< dtype of the outputs
  double epsilon = 1e-6;
  std::int64_t group_size = 0;
  FfnAttributes ffn;
  MoeAttributes moe;
  int rank = 0;  ///< whose operands these are

 private:
  struct OutputMemory {
    TensorRef tensor;
    Buffer memory;  ///< of its own, or a copy of what the operand held
    bool in_place = false;
  };
  std::array<Operand, kOperands> operands_;
  std::vector<OutputMemory> outputs_;
};

/// Where the operands of a rank come from: files or random numbers.
class OperandSource {
 public:
  virtual ~OperandSource() = default;
  virtual Result<Operands> make(int rank, int ranks) const = 0;
};

/// One of the `rows` rows of an output is zero: nobody wrote it. True without the output.
bool is_zero_row(const TensorRef& output, std::int64_t row, std::int64_t rows);

}  // namespace weft::tools
