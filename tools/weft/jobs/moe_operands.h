// SPDX-License-Identifier: Apache-2.0
// Memory and arguments of a mixture-of-experts layer on one rank.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include "base/memory.h"
#include "jobs/moe_check.h"
#include "jobs/ranks.h"
#include "ops/local_matmul/operands.h"
#include "weft/ops/ffn.h"
#include "weft/ops/moe_combine_add_rmsnorm.h"
#include "weft/ops/moe_dispatch.h"
#include "weft/ops/moe_gating_topk_softmax.h"

namespace weft::tools {

inline constexpr DType kMoeType = DType::kBFloat16;

/// Memory of `count` elements; pages that nobody touches cost nothing.
template <typename T>
class MoeArray {
 public:
  explicit MoeArray(std::int64_t count) {
    Result<Buffer> buffer =
        Buffer::allocate(count * static_cast<std::int64_t>(sizeof(T)), "a tensor");
    if (!buffer.ok()) throw std::bad_alloc();  // run_ranks() knows what to say
    buffer_ = std::move(buffer).value();
  }
  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }

 private:
  Buffer buffer_;
};
using MoeValues = MoeArray<std::uint16_t>;

/// What the layer writes; the fused and the separate one have one each.
struct MoeResults {
  MoeValues expand_x, expert_out, sum, y;
  MoeArray<std::int64_t> token_nums;
  MoeArray<float> rstd;
  MoeResults(const MoeSizes& s, std::int64_t rows, std::int64_t local_experts)
      : expand_x(rows * s.hidden),
        expert_out(rows * s.hidden),
        sum(s.tokens * s.hidden),
        y(s.tokens * s.hidden),
        token_nums(local_experts),
        rstd(s.tokens) {}
};

/// MoeOperands of one rank. Router and gamma are those of all.
struct MoeOperands {
  MoeExperts experts;
  std::int64_t local_experts, rows;  ///< rows: enough for any routing
  MoeValues x, residual, router, gamma, up, down, shared_up, shared_down, shared;
  MoeArray<std::int32_t> ids, row_ids, assist, counts;
  MoeArray<float> logits, scales;

  MoeOperands(const MoeSizes& sizes, const Rank& rank);
};

/// The arguments of all stages. Keeps references.
class MoeArguments {
 public:
  MoeArguments(const MoeSizes& sizes, const MoeOperands& operands, int ranks)
      : s_(sizes), o_(operands), ranks_(ranks) {}

  ops::MatmulOperands logits() const;
  MoeGatingTopkSoftmaxArgs gate() const;
  MoeDispatchArgs dispatch(const MoeResults& results) const;
  FfnArgs experts(const MoeResults& results) const;
  FfnArgs shared_expert() const;
  MoeCombineAddRmsNormArgs combine(const MoeResults& results) const;

 private:
  const MoeSizes& s_;
  const MoeOperands& o_;
  const int ranks_;
};

}  // namespace weft::tools
