// SPDX-License-Identifier: Apache-2.0
// How contracts say no: the first broken rule of a call, as one message with the operator, the
// rank, the operand, both values and what to do.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::ops {

/// Rules run in order; after the first broken one the others are not evaluated into a message.
class Contract {
 public:
  Contract(std::string_view op, int rank) : op_(op), rank_(rank) {}

  /// Breaks the contract unless `holds`. The text says what is wrong and what to do.
  template <typename... Args>
  Contract& rule(bool holds, fmt::format_string<Args...> format, Args&&... args) {
    if (!holds && status_.ok())
      status_ = Status(StatusCode::kInvalidArgument,
                       fmt::format("{} (rank {}): {}", op_, rank_,
                                   fmt::format(format, std::forward<Args>(args)...)));
    return *this;
  }

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  std::string_view op() const { return op_; }
  int rank() const { return rank_; }

 private:
  std::string_view op_;
  int rank_;
  Status status_;
};

/// "(2, 3)".
std::string shape_text(const ConstTensorRef& tensor);

/// True if the bytes the two views can touch overlap. Null or empty views overlap nothing.
bool overlap(const ConstTensorRef& a, const ConstTensorRef& b);

/// Same memory, shape, strides and dtype.
bool same_view(const ConstTensorRef& a, const ConstTensorRef& b);

/// Same dtype, shape and strides; the memory may differ.
bool same_layout(const ConstTensorRef& a, const ConstTensorRef& b);

}  // namespace weft::ops
