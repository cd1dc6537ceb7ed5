// SPDX-License-Identifier: Apache-2.0
// Status and Result<T>: how every call of weft says what happened. No exceptions, no aborts, no
// printing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "weft/export.h"

namespace weft {

/// What the caller can do next, not where the error came from.
enum class StatusCode {
  kOk,
  kInvalidArgument,  ///< fix the call: an operand, an option, a file
  kUnimplemented,    ///< use another dtype or CPU: there is no kernel for this here
  kMismatch,         ///< the ranks of the group disagree about the call; the group is unusable
  kTimeout,          ///< a deadline passed; the group is unusable
  kPeerLost,         ///< a rank died or left; form a new group
  kOutOfMemory,
  kInternal,  ///< a bug in weft
};

/// "invalid argument", "peer lost", …
WEFT_API std::string_view to_string(StatusCode code);

/// A code and a message. The message has four parts: the operator, what is wrong with names and
/// both values, where (rank), and what to do.
class [[nodiscard]] WEFT_API Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message, int rule = 0)
      : code_(code), rule_(rule), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  /// Which rule of an operator's contract was broken (src/ops/rules.inc), for front ends that have
  /// codes of their own; 0 if none.
  int rule() const { return rule_; }
  /// "invalid argument: matmul_allreduce: …", or "ok".
  std::string to_string() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  int rule_ = 0;
  std::string message_;
};

/// A value, or the Status that says why there is none. Reading value() of an error is a bug of the
/// caller.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace weft

/// Returns the Status of `expr` to the caller if it is an error.
#define WEFT_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                                 \
    if (::weft::Status weft_status_ = (expr); !weft_status_.ok()) return weft_status_; \
  } while (false)

#define WEFT_CONCAT_INNER_(a, b) a##b
#define WEFT_CONCAT_(a, b) WEFT_CONCAT_INNER_(a, b)

/// WEFT_ASSIGN_OR_RETURN(auto x, make_x()): x is the value, or the caller returns the Status.
#define WEFT_ASSIGN_OR_RETURN(lhs, expr) \
  WEFT_ASSIGN_OR_RETURN_IMPL_(WEFT_CONCAT_(weft_result_, __LINE__), lhs, expr)
#define WEFT_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) return result.status();            \
  lhs = std::move(result).value()
