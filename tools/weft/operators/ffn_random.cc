// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "operators/ffn.h"
#include "operators/random_operands.h"

namespace weft::tools {
namespace {

using Dims = std::vector<std::int64_t>;

/// One of the two products.
struct Product {
  OperandId weight, bias, deq_scale, antiquant_scale, antiquant_offset;
  std::int64_t k, n;
  double x;    ///< root mean square of what is multiplied by the weight
  double sum;  ///< and of what comes out
};

class Maker {
 public:
  Maker(const Case& c, int rank, int ranks, bool with_values)
      : case_(c), row_(*c.row), made_(c, rank, ranks, with_values) {}

  Result<Operands> make() {
    const Shape& shape = case_.shape;
    const bool gate = has_gate(case_.ffn.attributes.activation), quant = is_quant();
    const std::int64_t k = shape.k_of(0), hidden = shape.hidden;
    Dims x = shape.rows;
    x.push_back(k);
    made_.add(OperandId::kX, x, -1, 1);
    add_tokens();
    const double int8 = spread_of_integers(8);
    add({OperandId::kWeight1, OperandId::kBias1, OperandId::kDeqScale1, OperandId::kAntiquantScale1,
         OperandId::kAntiquantOffset1, k, gate ? 2 * hidden : hidden,
         quant ? int8 : 1 / std::sqrt(3.0), 1.5});
    add_quantisation(gate);
    add({OperandId::kWeight2, OperandId::kBias2, OperandId::kDeqScale2, OperandId::kAntiquantScale2,
         OperandId::kAntiquantOffset2, hidden, shape.n, quant ? int8 : 1, 1});
    WEFT_RETURN_IF_ERROR(status_);
    WEFT_ASSIGN_OR_RETURN(Operands made, made_.take());
    made.ffn = case_.ffn.attributes;
    return made;
  }

 private:
  bool is_quant() const { return row_.scenario() == ops::Scenario::kQuant; }
  Dims with_experts(Dims dims) const {
    if (case_.ffn.experts > 0) dims.insert(dims.begin(), case_.ffn.experts);
    return dims;
  }

  void add_tokens() {
    if (case_.ffn.experts == 0) return;
    Dims tokens = deal_rows(case_.ffn.deal, case_.shape.m(), case_.ffn.experts);
    if (case_.ffn.attributes.tokens_are_ends)
      for (std::size_t e = 1; e < tokens.size(); ++e) tokens[e] += tokens[e - 1];
    made_.add_values(OperandId::kExpertTokens, {static_cast<std::int64_t>(tokens.size())}, tokens);
  }

  void add(const Product& p) {
    const double root_k = std::sqrt(static_cast<double>(std::max<std::int64_t>(p.k, 1)));
    // Of the weight as it is multiplied; sqrt(3): uniform in ±most.
    const double most = std::sqrt(3.0) * p.sum / (p.x * root_k);
    made_.add_weight(p.weight, with_experts({p.k, p.n}), case_.ffn.transposed.has(p.weight), most);
    // int8: the integer product, which the scale brings down.
    const double product = p.x * spread_of_integers(8) * root_k;
    const double bias = is_quant() ? product / p.sum : 1;
    made_.add(p.bias, with_experts({p.n}), -bias, bias);
    const double quant = p.sum / product;
    made_.add(p.deq_scale, with_experts({p.n}), 0.5 * quant, 1.5 * quant);
    add_antiquant(p, most / std::sqrt(3.0));
  }

  void add_antiquant(const Product& p, double weight) {
    const int bits = info(row_.x2).bits;
    const double scale = weight / spread_of_integers(bits), offset = bits == 8 ? 16 : 2;
    const Dims dims = with_experts(antiquant_dims(p));
    made_.add(p.antiquant_scale, dims, 0.5 * scale, 1.5 * scale);
    made_.add(p.antiquant_offset, dims, -offset, offset);
  }
  Dims antiquant_dims(const Product& p) {
    if (row_.scenario() != ops::Scenario::kWeightQuant) return {p.n};
    if (case_.scale == ScaleShape::kTensor) return {1};
    if (case_.scale != ScaleShape::kGroup) return {p.n};
    if (p.k % case_.group_size != 0)
      status_ = Status(
          StatusCode::kInvalidArgument,
          fmt::format("--antiquant-group-size is {}, but {} has {} rows, which are no whole number "
                      "of such groups.",
                      case_.group_size, to_string(p.weight), p.k));
    return {p.k / case_.group_size, p.n};
  }

  /// Without a gate an activation is at least about zero: it begins near the lowest int8. Some
  /// values saturate.
  void add_quantisation(bool gate) {
    Dims per_tensor = {1}, per_channel = with_experts({case_.shape.hidden});
    if (case_.ffn.experts > 0) per_tensor = {case_.ffn.experts};
    made_.add(OperandId::kScale, case_.scale == ScaleShape::kTensor ? per_tensor : per_channel,
              gate ? 30 : 45, gate ? 50 : 75);
    made_.add(OperandId::kOffset, per_tensor, gate ? -10 : -110, gate ? 10 : -90);
  }

  const Case& case_;
  const DTypeRow& row_;
  RandomOperands made_;
  Status status_;
};

}  // namespace

std::vector<std::int64_t> deal_rows(Deal deal, std::int64_t rows, int experts) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  if (deal == Deal::kSkewed) {
    for (std::int64_t& count : counts) {
      count = (rows + 1) / 2;
      rows -= count;
    }
    if (experts > 0) counts.back() += rows;
    return counts;
  }
  const int step = deal == Deal::kGaps ? 2 : 1;
  if (deal == Deal::kGaps) rows -= (rows + 3) / 4;
  const std::int64_t takers = (experts + step - 1) / step;
  for (std::int64_t e = 0; e < takers; ++e)
    counts[static_cast<std::size_t>(e * step)] = rows / takers + (e < rows % takers);
  return counts;
}

Result<Operands> random_ffn(const Case& c, int rank, int ranks, bool with_values) {
  return Maker(c, rank, ranks, with_values).make();
}

}  // namespace weft::tools
