// SPDX-License-Identifier: Apache-2.0
// What only this interface can be given wrong, and what the contracts say of the rest in its codes.
// It is found at the call, because a task that found it later would leave the other ranks alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"
#include "hccl/hccl_types.h"
#include "ops/collectives/contract.h"
#include "weft/collectives.h"
#include "weft/group.h"

namespace weft::cann {

/// Checks in the order in which they are called; after the first failure the others do nothing, and
/// what they give back is 0 or empty.
class Checks {
 public:
  explicit Checks(const Group& group) : group_(group) {}

  int rank() const { return group_.rank(); }
  int ranks() const { return group_.ranks(); }
  bool ok() const { return error_.ok(); }
  const Error& error() const { return error_; }
  /// `what` says how it should be if `holds` is false.
  void rule(HcclResult code, bool holds, std::string_view what);

  /// The enums are read as numbers: they may be none of their values.
  DType type(std::string_view name, const HcclDataType& type);
  ReduceOp op(const HcclReduceOp& op);
  /// An array of uint64_t, copied as it is.
  std::vector<std::int64_t> copy(std::string_view name, const void* array, std::int64_t entries);
  /// The contract of a collective, under this interface's names.
  template <auto kCheck, typename... Args>
  void contract(const ops::CollectiveNames& names, const Args&... args) {
    if (ok()) add(kCheck({group_, "", names, true}, args...));
  }

 private:
  void add(const Status& contract);
  void fail(int code, std::string text);

  const Group& group_;
  Error error_;
};

}  // namespace weft::cann
