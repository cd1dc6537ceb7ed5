// SPDX-License-Identifier: Apache-2.0
#include "operators/ffn.h"

namespace weft::tools {
namespace {

constexpr Activation kActivations[] = {
    Activation::kFastGelu, Activation::kRelu,   Activation::kSilu,  Activation::kGelu,
    Activation::kGeglu,    Activation::kSwiglu, Activation::kReglu,
};

class Maker {
 public:
  Maker(const Shape& shape, const DTypeRow& row, std::uint64_t seed)
      : shape_(shape), row_(row), seed_(seed) {}

  std::vector<Variant> make() {
    int turn = static_cast<int>((shape_.m() + shape_.hidden) % 7);  // another at the next shape
    for (Activation activation : kActivations) {
      if (row_.gate && !has_gate(activation)) continue;
      add(activation, 0, turn);
      add(activation, 3, turn + 1);
      ++turn;
    }
    return std::move(list_);
  }

 private:
  void add(Activation activation, int experts, int turn) {
    Case& made = list_.emplace_back().made;
    made.shape = shape_;
    made.row = &row_;
    made.seed = seed_ + list_.size() - 1;
    FfnCase& ffn = made.ffn;
    ffn.attributes.activation = activation;
    ffn.attributes.inner_precise =
        row_.fast ? InnerPrecise::kHighPerformance : InnerPrecise::kHighPrecision;
    ffn.attributes.gate_is_left = has_gate(activation) && turn % 2 == 1;
    ffn.experts = experts;
    if (experts > 0) {
      ffn.deal = static_cast<Deal>(turn % 3);
      ffn.attributes.tokens_are_ends = turn / 2 % 2 == 1;
    }
    made.with = with(turn % 4);
    made.scale = static_cast<ScaleShape>(turn % 2);
    if (row_.scenario() == ops::Scenario::kWeightQuant && turn % 3 == 0) by_group(&made);
    if (turn / 2 % 2 == 1) ffn.transposed.add(OperandId::kWeight1);
    if (turn / 3 % 2 == 1) ffn.transposed.add(OperandId::kWeight2);
    if (!can_transpose()) ffn.transposed = {};
  }

  /// None, all, or the operands of one product.
  OperandSet with(int which) const {
    constexpr OperandSet kSecond = {OperandId::kBias2, OperandId::kAntiquantOffset2};
    OperandSet made;
    for (OperandId id : operator_of(row_).row_choices(row_))
      if (which == 1 || (which >= 2 && kSecond.has(id) == (which == 3))) made.add(id);
    return made;
  }

  void by_group(Case* made) const {
    const std::int64_t k = shape_.k_of(0);
    for (std::int64_t size : {32, 16, 8}) {
      if (k % size != 0 || shape_.hidden % size != 0 || k * shape_.hidden == 0) continue;
      made->scale = ScaleShape::kGroup;
      made->group_size = size;
      return;
    }
  }

  // Two int4 of an axis share a byte.
  bool can_transpose() const {
    return row_.x2 != DType::kInt4 || (shape_.k_of(0) % 2 == 0 && shape_.hidden % 2 == 0);
  }

  const Shape& shape_;
  const DTypeRow& row_;
  std::uint64_t seed_;
  std::vector<Variant> list_;
};

}  // namespace

std::vector<Variant> ffn_variants(const Shape& shape, const DTypeRow& row, std::uint64_t seed) {
  return Maker(shape, row, seed).make();
}

}  // namespace weft::tools
