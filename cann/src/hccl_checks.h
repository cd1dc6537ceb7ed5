// SPDX-License-Identifier: Apache-2.0
// What a collective's arguments can be wrong about. It is found at the call, because a task that
// found it later would leave the other ranks alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "communicator.h"
#include "error.h"
#include "hccl/hccl_types.h"
#include "ops/collectives/contract.h"
#include "weft/collectives.h"

namespace weft::cann {

using Buffer = ops::Bytes;

/// Checks in the order in which they are called; after the first failure the others do nothing, and
/// what they give back is 0 or empty.
class Checks {
 public:
  explicit Checks(const Communicator& communicator) : communicator_(communicator) {}

  int rank() const { return communicator_.rank(); }
  int ranks() const { return communicator_.ranks(); }
  bool ok() const { return error_.ok(); }
  const Error& error() const { return error_; }
  /// `what` says how it should be if `holds` is false.
  Checks& rule(HcclResult code, bool holds, std::string_view what);

  /// The enums are read as numbers: they may be none of their values.
  DType type(std::string_view name, const HcclDataType& type);
  ReduceOp op(const HcclReduceOp& op);
  int rank(std::string_view name, std::uint32_t rank);
  int peer(std::string_view name, std::uint32_t rank);  ///< not this rank itself
  /// `parts` times the count stay below 2^58 bytes.
  std::int64_t count(std::string_view name, std::uint64_t count, DType type, int parts = 1);
  /// An array of uint64_t, copied. The sum stays below 2^58 bytes.
  std::vector<std::int64_t> counts(std::string_view name, const void* array, std::int64_t entries,
                                   DType type);
  /// An array of uint64_t, one for each rank, copied.
  std::vector<std::int64_t> offsets(std::string_view name, const void* array, DType type);
  /// Not null unless it is empty.
  Checks& given(const Buffer& buffer);
  /// Not overlapping, unless the second lies in the first as the collective allows.
  Checks& apart(const Buffer& a, const Buffer& b, bool as_allowed = false);

 private:
  std::vector<std::int64_t> copy(std::string_view name, const void* array, std::int64_t entries,
                                 DType type);
  void fail(HcclResult code, std::string text);

  const Communicator& communicator_;
  Error error_;
};

}  // namespace weft::cann
