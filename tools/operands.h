// SPDX-License-Identifier: Apache-2.0
// The operands of one rank of matmul_allreduce_add_rmsnorm, each in its own memory.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/memory.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"
#include "weft/status.h"

namespace weft::tools {

enum class OperandId {
  kX1,
  kX2,
  kBias,
  kDequantScale,
  kAntiquantScale,
  kAntiquantOffset,
  kResidual,
  kGamma,
  kCount
};
inline constexpr int kOperands = static_cast<int>(OperandId::kCount);
std::string_view to_string(OperandId id);  ///< "dequant_scale"

struct Operand {
  std::string source;     ///< the file it came from, or "random"
  Buffer memory;          ///< dense, in the order of the file
  ConstTensorRef tensor;  ///< the logical view of it; not given if there is no such operand

  bool given() const { return tensor.given(); }
};

class Operands {
 public:
  Operand& operator[](OperandId id) { return operands_[static_cast<std::size_t>(id)]; }
  const Operand& operator[](OperandId id) const { return operands_[static_cast<std::size_t>(id)]; }

  /// Allocates an operand with these extents, dense; the caller fills data().
  static Result<Operand> make(OperandId id, DType dtype, std::vector<std::int64_t> dims);

  /// Allocates y and norm_out like residual. In place: y is residual's memory, and restore() brings
  /// back what residual held.
  Status make_outputs(bool in_place);
  void restore();

  MatmulAllReduceAddRmsNormArgs args() const;
  TensorRef y() const { return y_; }
  TensorRef norm_out() const { return norm_out_; }

  /// "x1 float16 (4, 8) from d/x1_0.npy; x2 …": for the message of a refused call.
  std::string describe() const;

  double epsilon = 1e-6;
  std::int64_t group_size = 0;

 private:
  std::array<Operand, kOperands> operands_;
  Buffer y_memory_, norm_memory_, saved_residual_;
  TensorRef y_, norm_out_;
};

/// Where the operands of a rank come from: files or random numbers.
class OperandSource {
 public:
  virtual ~OperandSource() = default;
  virtual Result<Operands> make(int rank, int ranks) const = 0;
};

}  // namespace weft::tools
