// SPDX-License-Identifier: Apache-2.0
#include "operators/ffn.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "operators/args.h"
#include "ops/ffn/reference.h"

namespace weft::tools {

template <>
FfnArgs Operands::args() const {
  return {.x = tensor(OperandId::kX),
          .weight1 = tensor(OperandId::kWeight1),
          .weight2 = tensor(OperandId::kWeight2),
          .expert_tokens = tensor(OperandId::kExpertTokens),
          .tokens_are_ends = ffn.tokens_are_ends,
          .bias1 = tensor(OperandId::kBias1),
          .bias2 = tensor(OperandId::kBias2),
          .scale = tensor(OperandId::kScale),
          .offset = tensor(OperandId::kOffset),
          .deq_scale1 = tensor(OperandId::kDeqScale1),
          .deq_scale2 = tensor(OperandId::kDeqScale2),
          .antiquant_scale1 = tensor(OperandId::kAntiquantScale1),
          .antiquant_scale2 = tensor(OperandId::kAntiquantScale2),
          .antiquant_offset1 = tensor(OperandId::kAntiquantOffset1),
          .antiquant_offset2 = tensor(OperandId::kAntiquantOffset2),
          .activation = ffn.activation,
          .inner_precise = ffn.inner_precise,
          .y = output(0)};
}

namespace {

constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16, kF32 = DType::kFloat32;
constexpr DType kI8 = DType::kInt8, kI4 = DType::kInt4, kI32 = DType::kInt32;

constexpr DTypeRow fast(DTypeRow row) {
  row.fast = true;
  return row;
}
constexpr DTypeRow with_gate(DTypeRow row) {
  row.gate = true;
  return row;
}
constexpr DTypeRow kRows[] = {
    // name, x, weights, biases, deq_scale or antiquant_scale, y
    {"U16", kF16, kF16, kF16, kF16, kF16},
    fast({"U16-fast", kF16, kF16, kF16, kF16, kF16}),
    fast(with_gate({"U16G", kF16, kF16, kF16, kF16, kF16})),
    {"UB", kBf16, kBf16, kF32, kBf16, kBf16},
    with_gate({"UBG", kBf16, kBf16, kF32, kBf16, kBf16}),
    {"Q16-u64", kI8, kI8, kI32, DType::kUInt64, kF16},
    {"Q16-i64", kI8, kI8, kI32, DType::kInt64, kF16},
    {"Q16-f32", kI8, kI8, kI32, kF32, kF16},
    {"QB", kI8, kI8, kI32, kBf16, kBf16},
    {"P16", kF16, kI8, kF16, kF16, kF16},
    {"P16-int4", kF16, kI4, kF16, kF16, kF16},
    {"PB", kBf16, kI8, kF32, kBf16, kBf16},
    {"PB-int4", kBf16, kI4, kF32, kBf16, kBf16},
};

FfnOptions options_of(const Operands& operands) {
  return {.gate_is_left = operands.ffn.gate_is_left};
}

/// Rows that have an expert, and the experts that have rows; without experts all and 1. Before
/// run() has looked at them the tokens may be anything.
struct Work {
  std::int64_t rows = 0, experts = 0;
};
Work work_of(const Operands& operands) {
  const std::int64_t m = ops::rows_of(operands.tensor(OperandId::kX));
  const ConstTensorRef& tokens = operands.tensor(OperandId::kExpertTokens);
  if (!tokens.given()) return {m, 1};
  const auto* values = static_cast<const std::int64_t*>(tokens.data());
  Work work;
  for (std::int64_t e = 0; e < tokens.elements(); ++e) {
    const std::int64_t end = operands.ffn.tokens_are_ends ? values[e] : work.rows + values[e];
    if (values[e] < 0 || end > m || end <= work.rows) continue;
    work.rows = end;
    ++work.experts;
  }
  return work;
}

class Planned : public PlannedCall {
 public:
  explicit Planned(Ffn op) : op_(std::move(op)) {}
  Status run(const Operands& operands) override { return op_.run(operands.args<FfnArgs>()); }
  std::string describe() const override { return op_.describe(); }

 private:
  Ffn op_;
};

class Tool : public Operator {
 public:
  Tool()
      : Operator({.name = "ffn",
                  .formula = "y = f(x weight1 + bias1) weight2 + bias2, per expert or not; each "
                             "rank on its own",
                  .required = {OperandId::kX, OperandId::kWeight1, OperandId::kWeight2},
                  .optional = {OperandId::kExpertTokens, OperandId::kBias1, OperandId::kBias2,
                               OperandId::kScale, OperandId::kOffset, OperandId::kDeqScale1,
                               OperandId::kDeqScale2, OperandId::kAntiquantScale1,
                               OperandId::kAntiquantScale2, OperandId::kAntiquantOffset1,
                               OperandId::kAntiquantOffset2},
                  .outputs = {{.name = "y"}},
                  .rows = kRows,
                  .matmul = false,
                  .collective = false}) {}

  /// Biases of float rows may be float32 with either io dtype.
  bool takes(OperandId id, DType of_file, DType io) const override {
    const bool bias = id == OperandId::kBias1 || id == OperandId::kBias2;
    return (bias && (of_file == kF32 || of_file == io)) || Operator::takes(id, of_file, io);
  }

  std::string settings(const Case& c) const override {
    const FfnAttributes& ffn = c.ffn.attributes;
    std::string text = fmt::format(", {}", weft::to_string(ffn.activation));
    if (ffn.gate_is_left) text += ", gate left";
    if (c.ffn.experts > 0) {
      constexpr std::string_view kDeals[] = {"", " skewed", " with gaps"};
      text += fmt::format(", {} experts{}{}", c.ffn.experts, kDeals[static_cast<int>(c.ffn.deal)],
                          ffn.tokens_are_ends ? " by ends" : "");
    }
    if (ffn.inner_precise == InnerPrecise::kHighPerformance && !c.row->fast)
      text += ", inner_precise 1";
    for (OperandId id : {OperandId::kWeight1, OperandId::kWeight2})
      if (c.ffn.transposed.has(id)) text += fmt::format(", {} transposed", tools::to_string(id));
    return text;
  }

  Result<Shape> parse_shape(std::string_view text) const override { return parse_ffn_shape(text); }

  std::vector<std::string> check_shapes(const DTypeRow& row) const override {
    // One row; odd extents (int4 comes in pairs); many axes; more than one tile; more than one
    // block of rows; nothing between the products, and nothing before them.
    return {"1x64:96x64",     row.x2 == kI4 ? "5x34:46x30" : "5x33:47x29",
            "2x3x4x32:64x40", "67x64:96x40",
            "2053x8:16x8",    "7x16:0x24",
            "7x0:40x16"};
  }
  std::vector<int> check_ranks(bool) const override { return {1}; }
  std::vector<Variant> variants(const Shape& shape, const DTypeRow& row, int,
                                std::uint64_t seed) const override {
    return ffn_variants(shape, row, seed);
  }

  Result<Operands> random(const Case& c, int rank, int ranks, bool with_values) const override {
    return random_ffn(c, rank, ranks, with_values);
  }

  Extents extents(const Operands& operands, int) const override {
    const ConstTensorRef& x = operands.tensor(OperandId::kX);
    const ConstTensorRef& weight2 = operands.tensor(OperandId::kWeight2);
    const double n1 = static_cast<double>(operands.tensor(OperandId::kWeight1).dims().back());
    const double k2 = static_cast<double>(weight2.dim(weight2.rank() - 2));
    Extents e;
    e.m = e.rows = ops::rows_of(x);
    e.k = x.dims().back();
    e.n = weight2.dims().back();
    e.flops = 2 * static_cast<double>(work_of(operands).rows) *
              (static_cast<double>(e.k) * n1 + k2 * static_cast<double>(e.n));
    return e;
  }

  double flops(const Case& c, int ranks) const override {
    std::int64_t rows = c.shape.m();
    if (c.ffn.experts > 0) {
      rows = 0;
      for (std::int64_t count : deal_rows(c.ffn.deal, c.shape.m(), c.ffn.experts)) rows += count;
    }
    const double k = static_cast<double>(c.shape.k_of(0)), n = static_cast<double>(c.shape.n);
    const double halves = has_gate(c.ffn.attributes.activation) ? 2 : 1;
    return 2.0 * ranks * static_cast<double>(rows) * static_cast<double>(c.shape.hidden) *
           (halves * k + n);
  }

  double bytes_moved(const Operands& operands, int) const override {
    const auto bytes = [](const ConstTensorRef& t) {
      return static_cast<double>(bytes_of(t.dtype(), t.elements()));
    };
    const ConstTensorRef &x = operands.tensor(OperandId::kX),
                         &weight1 = operands.tensor(OperandId::kWeight1),
                         &weight2 = operands.tensor(OperandId::kWeight2);
    const Work work = work_of(operands);
    const double all = weight1.rank() == 3 ? static_cast<double>(weight1.dim(0)) : 1;
    const double rows = static_cast<double>(work.rows) /
                        static_cast<double>(std::max<std::int64_t>(ops::rows_of(x), 1));
    const double y = 2.0 * static_cast<double>(work.rows * weight2.dims().back());
    // The weights of experts that have rows.
    return bytes(x) * rows + y +
           (bytes(weight1) + bytes(weight2)) * static_cast<double>(work.experts) /
               std::max(all, 1.0);
  }

  bool same_on_all_ranks(const Case&) const override { return false; }

  Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group&, const Operands& operands,
                                            Trace*) const override {
    WEFT_ASSIGN_OR_RETURN(Ffn op,
                          Ffn::plan(context, operands.args<FfnArgs>(), options_of(operands)));
    return std::unique_ptr<PlannedCall>(new Planned(std::move(op)));
  }

  /// Rows that are no one's are as they were: zero.
  ops::RowError check_row(std::span<const Operands> ranks, int rank,
                          std::int64_t row) const override {
    const Operands& operands = ranks[static_cast<std::size_t>(rank)];
    const FfnArgs args = operands.args<FfnArgs>();
    if (ops::expert_of_row(args, row) >= 0) return ops::check_row(args, options_of(operands), row);
    ops::RowError error;
    if (!is_zero_row(args.y, row, ops::rows_of(args.x)))
      error.add(std::numeric_limits<double>::infinity(), "y of no expert");
    return error;
  }

 protected:
  std::vector<ConstTensorRef> output_shapes(const Operands& operands, int) const override {
    const ConstTensorRef& x = operands.tensor(OperandId::kX);
    const ConstTensorRef& weight2 = operands.tensor(OperandId::kWeight2);
    std::vector<std::int64_t> dims(x.dims().begin(), x.dims().end());
    if (!dims.empty() && weight2.rank() > 0) dims.back() = weight2.dims().back();
    return {{nullptr, operands.io, dims}};
  }
};

}  // namespace

const Operator& ffn_operator() {
  static const Tool kTool;
  return kTool;
}

}  // namespace weft::tools
