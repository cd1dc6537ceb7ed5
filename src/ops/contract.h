// SPDX-License-Identifier: Apache-2.0
// How contracts say no: the first broken rule of a call, as one message with the operator, the
// rank, the operand, both values and what to do.
#pragma once

#include <fmt/core.h>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "ops/rules.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::ops {

/// The first broken rule counts, those that come last after all others; only it gets a message.
class Contract {
 public:
  /// Messages begin with both, or with neither if the name is empty.
  Contract(std::string_view op, int rank) : op_(op), rank_(rank) {}
  /// Of an operator that knows no ranks.
  explicit Contract(std::string_view op) : op_(op) {}

  /// Breaks the contract unless `holds`. The text says what is wrong and what to do; the rule says
  /// which line of the table it is.
  template <typename... Args>
  Contract& rule(Rule rule, bool holds, fmt::format_string<Args...> format, Args&&... args) {
    if (holds || !ok()) return *this;
    Status& broken = comes_last(rule) ? last_ : status_;
    if (broken.ok())
      broken = Status(StatusCode::kInvalidArgument,
                      prefix() + fmt::format(format, std::forward<Args>(args)...),
                      static_cast<int>(rule));
    return *this;
  }
  template <typename... Args>
  Contract& rule(bool holds, fmt::format_string<Args...> format, Args&&... args) {
    return rule(Rule::kOwn, holds, format, std::forward<Args>(args)...);
  }

  /// No rule is broken but perhaps some that come last: what follows can be looked at.
  bool ok() const { return status_.ok(); }
  const Status& status() const { return ok() ? last_ : status_; }
  std::string_view op() const { return op_; }
  int rank() const { return rank_; }

 private:
  std::string prefix() const {
    if (op_.empty()) return {};
    return rank_ < 0 ? fmt::format("{}: ", op_) : fmt::format("{} (rank {}): ", op_, rank_);
  }

  std::string_view op_;
  int rank_ = -1;
  Status status_, last_;
};

/// "(2, 3)".
std::string shape_text(const ConstTensorRef& tensor);

/// True if the bytes the two views can touch overlap. Null or empty views overlap nothing.
bool overlap(const ConstTensorRef& a, const ConstTensorRef& b);

/// Same memory, shape, strides and dtype.
bool same_view(const ConstTensorRef& a, const ConstTensorRef& b);

/// Same dtype, shape, strides and format; the memory may differ.
bool same_layout(const ConstTensorRef& a, const ConstTensorRef& b);

/// Any extent is 0. (False for a tensor that is not given.)
bool is_empty(const ConstTensorRef& tensor);

/// Offsets of all elements in bits are signed 64-bit numbers.
bool can_be_addressed(const ConstTensorRef& tensor);
/// No two elements share memory. Refuses views whose axes interleave, too.
bool elements_are_apart(const ConstTensorRef& tensor);

/// An operand by the name the caller knows.
struct NamedTensor {
  std::string_view name;
  ConstTensorRef tensor;
};
/// The tensors of a call, without allocating.
class TensorList {
 public:
  TensorList& add(std::string_view name, const ConstTensorRef& tensor) {
    tensors_[static_cast<size_t>(size_++)] = {name, tensor};
    return *this;
  }
  operator std::span<const NamedTensor>() const {
    return {tensors_.data(), static_cast<size_t>(size_)};
  }

 private:
  static constexpr int kMost = 20;  // of any operator
  std::array<NamedTensor, kMost> tensors_;
  int size_ = 0;
};

/// Every tensor has as many axes as it should (at least one) and no negative extents.
void check_extents(Contract& contract, std::span<const NamedTensor> tensors);
/// run() got what plan() saw: the same operands in the same order, with the same layouts, and data.
void check_as_planned(Contract& contract, std::span<const NamedTensor> planned,
                      std::span<const NamedTensor> now);
/// An output overlaps none of `others`, itself excepted; it may be exactly the memory of
/// `may_share`.
void check_apart(Contract& contract, const NamedTensor& output, std::span<const NamedTensor> others,
                 std::string_view may_share = {});

}  // namespace weft::ops
