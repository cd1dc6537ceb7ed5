// SPDX-License-Identifier: Apache-2.0
// What is added up for a token, in order: the rows of its experts, shared experts, shared_expert_x.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/row_offsets.h"
#include "kernels/rows/rows.h"
#include "ops/moe_combine/combine.h"
#include "ops/moe_routing/routing.h"

namespace weft::ops {

class Terms {
 public:
  Terms(const MoeCombineArgs& args, const rows::Kernels& rows, const CombineWire& wire);

  /// A row must have arrived for this slot of the token.
  bool expects(std::int64_t token, std::int64_t slot) const;
  bool active(std::int64_t token) const { return mask_.token(token); }
  std::int64_t slots() const { return k_ + experts_.shared_expert_num; }
  /// `arrived`: the row of each slot. `scratch`: scratch_bytes() of memory.
  TokenTerms of(std::int64_t token, const void* const* arrived, std::byte* scratch) const;
  static std::int64_t scratch_bytes(const MoeCombineArgs& args);

 private:
  const void* row(const void* arrived, std::byte* decoded) const;
  void blend(std::int64_t expert, const void* x, float* to) const;
  const void* ori_x(std::int64_t token) const {
    return static_cast<const std::byte*>(args_.ori_x.data()) + ori_x_rows_[token];
  }

  const MoeCombineArgs& args_;
  const MoeExperts& experts_;
  const rows::Kernels& rows_;
  const CombineWire& wire_;
  std::int64_t n_, k_;
  Matrix<std::int32_t> ids_;
  Matrix<float> weights_;
  ActiveMask mask_;
  RowOffsets ori_x_rows_, shared_rows_, v_rows_;
};

}  // namespace weft::ops
