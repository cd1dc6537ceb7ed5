// SPDX-License-Identifier: Apache-2.0
// Which tokens of a rank go where, in which order: arithmetic on expert ids, without ranks that
// talk to each other. Nothing here depends on what lies in memory beside the ids and the mask.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/moe_routing/placement.h"
#include "weft/ops/moe_dispatch.h"
#include "weft/tensor.h"

namespace weft::ops {

/// The elements of a matrix of any strides.
template <typename T>
class Matrix {
 public:
  explicit Matrix(const ConstTensorRef& t)
      : data_(static_cast<const T*>(t.data())), rows_(t.stride(0)), columns_(t.stride(1)) {}
  T at(std::int64_t row, std::int64_t column) const {
    return data_[row * rows_ + column * columns_];
  }

 private:
  const T* data_;
  std::int64_t rows_, columns_;
};

/// Which tokens and entries of a rank are active.
class ActiveMask {
 public:
  /// A mask that is not given: all.
  ActiveMask(const ConstTensorRef& mask, std::int64_t tokens, std::int64_t k);
  bool entry(std::int64_t t, std::int64_t k) const {
    return mask_.rank() == 2 ? bits_[t * mask_.stride(0) + k * mask_.stride(1)] != 0 : t < first_;
  }
  bool token(std::int64_t t) const;

 private:
  ConstTensorRef mask_;
  const std::uint8_t* bits_;  // bytes: what programs pass as bool may hold any number
  std::int64_t k_;
  std::int64_t first_;  // without a mask of entries: so many tokens are active, the first ones
};

/// A row that a token has at an expert.
struct Entry {
  std::int32_t token;
  std::int32_t slot;  ///< k, or K + shared expert
};

/// The rows of one rank's tokens. Owns memory for as many as it was made for.
class Routing {
 public:
  Routing(const Placement& placement, const MoeExperts& experts, int rank, std::int64_t tokens,
          std::int64_t k);

  /// Reads ids and mask. Allocates nothing.
  void route(const ConstTensorRef& expert_ids, const ConstTensorRef& mask);

  /// Rows at a place, in the order of (t, k).
  std::span<const Entry> at(std::int64_t place) const {
    const auto p = static_cast<std::size_t>(place);
    return std::span(entries_).subspan(begin_[p], begin_[p + 1] - begin_[p]);
  }
  const MoeDispatchCounts& counts() const { return counts_; }

 private:
  template <typename Visit>
  void for_rows(const Matrix<std::int32_t>& ids, const ActiveMask& mask, const Visit& visit);

  Placement placement_;
  MoeExperts experts_;
  int rank_;
  std::int64_t tokens_, k_;
  std::vector<Entry> entries_;
  std::vector<std::size_t> begin_;  // of each place's entries, and where the last one's end
  std::vector<std::int64_t> seen_;  // for each expert the last token with it, + 1
  MoeDispatchCounts counts_;
};

}  // namespace weft::ops
