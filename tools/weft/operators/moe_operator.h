// SPDX-License-Identifier: Apache-2.0
// The operators of a mixture of experts as commands see them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/collective.h"
#include "operators/moe.h"

namespace weft::tools {

/// `Op`, `Args`, `Options`: MoeDispatch, MoeDispatchArgs, MoeDispatchOptions.
template <typename Op, typename Args, typename Options>
class MoeOperator : public CollectiveOperator<Op, Args, Options> {
 public:
  using CollectiveOperator<Op, Args, Options>::CollectiveOperator;

  std::string settings(const Case& c) const override { return moe_settings(c); }
  Result<Shape> parse_shape(std::string_view text) const override { return parse_moe_shape(text); }
  std::vector<std::string> check_shapes(const DTypeRow&) const override {
    // One token; ranks without any; rows of odd length; more than one block of rows.
    return {"1x64", "5,0,3,1x33", "17x72"};
  }
  std::vector<Variant> variants(const Shape& shape, const DTypeRow& row, int ranks,
                                std::uint64_t seed) const override {
    return moe_variants(shape, row, ranks, seed);
  }
  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    return random_moe(c, rank, ranks, with_values);
  }
  bool same_on_all_ranks(const Case&) const override { return false; }
  std::int64_t result_rows(const Case& c, int ranks) const override {
    return c.shape.most_tokens(ranks);
  }

  Status check_shapes_of_ranks(std::span<const Operands> ranks) const override {
    for (const Operands& operands : ranks) {
      const ConstTensorRef& ids = operands.tensor(OperandId::kExpertIds);
      const std::int64_t tokens = ids.rank() > 0 ? ids.dim(0) : 0;
      WEFT_RETURN_IF_ERROR(
          check_global_bs(operands.moe, tokens, operands.rank, static_cast<int>(ranks.size())));
    }
    return {};
  }
};

/// What the combines have in common beside that.
inline std::vector<OperandId> combine_required() {
  return {OperandId::kExpandX, OperandId::kExpertIds, OperandId::kAssistInfoForCombine,
          OperandId::kEpSendCounts, OperandId::kExpertScales};
}
inline std::vector<OperandId> combine_optional() {
  return {OperandId::kXActiveMask,       OperandId::kSharedExpertX,     OperandId::kOriX,
          OperandId::kConstExpertAlpha1, OperandId::kConstExpertAlpha2, OperandId::kConstExpertV};
}

template <typename Op, typename Args, typename Options>
class MoeCombineOperator : public MoeOperator<Op, Args, Options> {
 public:
  using MoeOperator<Op, Args, Options>::MoeOperator;

  Extents extents(const Operands& operands, int) const override {
    const std::vector<std::int64_t> dims = token_dims(operands);
    return {.m = dims[0], .n = dims[1], .rows = dims[0]};
  }
  /// The rows of all ranks are searched for those of a token.
  double multiplies_of_row(const Case& c, int ranks) const override {
    const double rows =
        static_cast<double>(c.shape.most_tokens(ranks) * (top_k_of(c.moe, ranks) + 1) * ranks);
    return static_cast<double>(c.shape.n * (top_k_of(c.moe, ranks) + 1)) + rows;
  }

 protected:
  /// (Bs, H); zeros where the operands have too few axes.
  static std::vector<std::int64_t> token_dims(const Operands& operands) {
    const ConstTensorRef &ids = operands.tensor(OperandId::kExpertIds),
                         &expand_x = operands.tensor(OperandId::kExpandX);
    return {ids.rank() > 0 ? ids.dim(0) : 0, expand_x.rank() > 0 ? expand_x.dims().back() : 0};
  }
};

}  // namespace weft::tools
