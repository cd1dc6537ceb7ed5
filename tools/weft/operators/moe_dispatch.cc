// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "operators/moe_operator.h"
#include "ops/moe_dispatch/reference.h"

namespace weft::tools {

template <>
MoeDispatchArgs Operands::args() const {
  return {.x = tensor(OperandId::kX),
          .expert_ids = tensor(OperandId::kExpertIds),
          .scales = tensor(OperandId::kScales),
          .x_active_mask = tensor(OperandId::kXActiveMask),
          .experts = moe.experts,
          .tokens_are_ends = moe.tokens_are_ends,
          .expand_x = output(0),
          .dynamic_scales = output(1),
          .assist_info_for_combine = output(2),
          .expert_token_nums = output(3),
          .ep_recv_counts = output(4)};
}

namespace {

using Args = MoeDispatchArgs;

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
constexpr DTypeRow kRows[] = {
    // of x alone
    {"D16", kF16, kF16, kF16, kF16, kF16},
    {"DB", kBf16, kBf16, kBf16, kBf16, kBf16},
};

class RouteChecker : public Checker {
 public:
  explicit RouteChecker(std::vector<Args> args) : args_(std::move(args)) {
    for (int rank = 0; rank < static_cast<int>(args_.size()); ++rank)
      routes_.push_back(ops::reference_route(args_, rank));
  }

  /// A row behind the last one is as it was: zero.
  ops::RowError row(int rank, std::int64_t row) const override {
    const Args& own = args_[static_cast<std::size_t>(rank)];
    const ops::MoeRoute& route = routes_[static_cast<std::size_t>(rank)];
    if (row < std::ssize(route.rows)) return ops::check_row(args_, rank, route, row);
    ops::RowError error;
    for (const TensorRef* output :
         {&own.expand_x, &own.dynamic_scales, &own.assist_info_for_combine})
      if (!is_zero_row(*output, row, own.expand_x.dim(0)))
        error.add(std::numeric_limits<double>::infinity(), "a row behind the last one");
    return error;
  }
  ops::RowError whole(int rank) const override { return ops::check_counts(args_, rank); }

 private:
  std::vector<Args> args_;
  std::vector<ops::MoeRoute> routes_;
};

class PlannedDispatch : public PlannedCall {
 public:
  PlannedDispatch(MoeDispatch op, std::unique_ptr<MoeDispatchCounts> counts)
      : counts_(std::move(counts)), op_(std::move(op)) {}
  Status run(const Operands& operands) override { return op_.run(operands.args<Args>()); }
  std::string describe() const override { return op_.describe(); }
  std::string remark() const override {
    std::string text;
    if (counts_->out_of_range > 0)
      text = fmt::format("{} of its expert_ids are of no expert and were not sent",
                         counts_->out_of_range);
    if (counts_->doubled > 0)
      text += fmt::format("{}{} of its expert_ids stand twice for a token and were sent again",
                          text.empty() ? "" : "; ", counts_->doubled);
    return text;
  }

 private:
  std::unique_ptr<MoeDispatchCounts> counts_;  // where op_ finds it
  MoeDispatch op_;
};

class Tool : public MoeOperator<MoeDispatch, Args, MoeDispatchOptions> {
 public:
  Tool()
      : MoeOperator({.name = "moe_dispatch",
                     .formula = "expand_x = the tokens of all ranks whose experts live here, "
                                "expert by expert",
                     .required = {OperandId::kX, OperandId::kExpertIds},
                     .optional = {OperandId::kScales, OperandId::kXActiveMask},
                     .outputs = {{.name = "expand_x"},
                                 {.name = "dynamic_scales"},
                                 {.name = "assist_info_for_combine", .optional = true},
                                 {.name = "expert_token_nums", .whole = true},
                                 {.name = "ep_recv_counts", .whole = true}},
                     .rows = kRows,
                     .products = false,
                     .matmul = false}) {}

  Extents extents(const Operands& operands, int ranks) const override {
    const ConstTensorRef& x = operands.tensor(OperandId::kX);
    return {.m = x.dim(0), .n = x.dim(1), .rows = row_capacity(operands, ranks)};
  }
  std::int64_t result_rows(const Case& c, int ranks) const override {
    std::int64_t most = 0;
    MoeAttributes attributes = c.moe.attributes;
    attributes.experts = experts_of(c.moe, ranks);
    for (int rank = 0; rank < ranks; ++rank)
      most = std::max(most, row_capacity(attributes, c.shape.most_tokens(ranks),
                                         top_k_of(c.moe, ranks), rank, ranks));
    return most;
  }
  /// Each token once for all who want it, and each row read there and written. On average over the
  /// ranks as many rows come as go.
  double bytes_moved(const Operands& operands, int) const override {
    const std::int64_t h = operands.tensor(OperandId::kX).dim(1);
    const std::int64_t tokens = active_tokens(operands), rows = rows_of_tokens(operands);
    if (!operands.moe.quantise) return static_cast<double>(2 * h * (tokens + 2 * rows));
    // An expert's own factors: a staged row for each of its tokens.
    return static_cast<double>((h + 4) * 3 * rows);
  }

  Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group& group,
                                            const Operands& operands, Trace* trace) const override {
    auto counts = std::make_unique<MoeDispatchCounts>();
    MoeDispatchOptions options;
    options.counts = counts.get();
    options.trace = trace;
    WEFT_ASSIGN_OR_RETURN(MoeDispatch op,
                          MoeDispatch::plan(context, group, operands.args<Args>(), options));
    return std::unique_ptr<PlannedCall>(new PlannedDispatch(std::move(op), std::move(counts)));
  }

  std::unique_ptr<Checker> checker(std::span<const Operands> ranks) const override {
    return std::make_unique<RouteChecker>(args_of(ranks));
  }

  /// Without --global-bs the size of expand_x follows from the own tokens.
  Status check_shapes_of_ranks(std::span<const Operands> ranks) const override {
    WEFT_RETURN_IF_ERROR(MoeOperator::check_shapes_of_ranks(ranks));
    std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = 0;
    for (const Operands& operands : ranks) {
      const ConstTensorRef& x = operands.tensor(OperandId::kX);
      if (x.rank() != 2 || operands.moe.global_bs > 0) return {};
      least = std::min(least, x.dim(0));
      most = std::max(most, x.dim(0));
    }
    if (least == most) return {};
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("the x of one rank has {} tokens, that of another {}: how many rows a "
                    "rank may get is not known.\nPass --global-bs {}, the most tokens of "
                    "a rank times the ranks.",
                    least, most, most * std::ssize(ranks)));
  }

 protected:
  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    return checker(ranks)->row(rank, row);
  }

  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int ranks) const override {
    const ConstTensorRef& x = operands.tensor(OperandId::kX);
    const std::int64_t rows = row_capacity(operands, ranks), h = x.rank() > 0 ? x.dims().back() : 0,
                       experts = operands.rank < operands.moe.experts.shared_expert_rank_num
                                     ? 1
                                     : local_experts(operands.moe.experts, operands.rank, ranks);
    const auto like = [](DType dtype, std::vector<std::int64_t> dims) {
      return ConstTensorRef(nullptr, dtype, dims);
    };
    const bool quantise = operands.moe.quantise;
    return {like(quantise ? DType::kInt8 : operands.io, {rows, h}),
            quantise ? like(DType::kFloat32, {rows}) : ConstTensorRef(),
            like(DType::kInt32, {3 * rows}), like(DType::kInt64, {experts}),
            like(DType::kInt32, {experts * ranks})};
  }
};

}  // namespace

const Operator& moe_dispatch_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
