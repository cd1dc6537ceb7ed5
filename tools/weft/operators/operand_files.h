// SPDX-License-Identifier: Apache-2.0
// Operands from .npy files, one file per operand and rank.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "files/npy.h"
#include "operators/operands.h"
#include "operators/operator.h"

namespace weft::tools {

struct FileOptions {
  /// "{rank}" stands for the rank; empty: not given. expert_tokens may be numbers: "3,0,5".
  std::array<std::string, kOperands> pattern;
  std::optional<DType> dtype;  ///< --dtype: what the io dtype is
  bool round = false;          ///< float32 files are rounded to the io dtype
  OperandSet transposed;       ///< weights whose files hold (n, k)
  bool int4 = false;           ///< int8 weights hold two int4 a byte, the lower nibble first
  double epsilon = 1e-6;
  std::int64_t group_size = 0;
  FfnAttributes ffn;
  MoeAttributes moe;
};

class FileSource : public OperandSource {
 public:
  FileSource(const Operator& op, FileOptions options) : op_(op), options_(std::move(options)) {}
  Result<Operands> make(int rank, int ranks) const override;
  /// Reads the headers of all files of all ranks: what can be refused without loading is refused,
  /// also what the shapes of different ranks must have in common.
  Status check(int ranks) const;
  /// The io dtype: --dtype, else what the files of this rank say.
  Result<DType> io_dtype(int rank) const;

 private:
  std::string path(OperandId id, int rank) const;
  Result<DType> io_dtype_of(const NpyHeader& header, OperandId id) const;
  Result<DType> io_dtype_of_int8(int rank) const;
  Result<DType> dtype_in_memory(const NpyHeader& header, OperandId id, DType io) const;
  Status refuse_float32(const NpyHeader& header, OperandId id, DType io) const;
  void set_attributes(Operands* operands, int rank, DType io) const;
  Status check_weight(const NpyHeader& header, OperandId id) const;
  Result<Operand> read(const NpyHeader& header, OperandId id, DType io) const;

  const Operator& op_;
  FileOptions options_;
};

}  // namespace weft::tools
