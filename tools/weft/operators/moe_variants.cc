// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "operators/moe.h"

namespace weft::tools {
namespace {

constexpr OperandSet kNone;

class Maker {
 public:
  Maker(const Shape& shape, const DTypeRow& row, int ranks, std::uint64_t seed)
      : shape_(shape), row_(row), op_(operator_of(row)), ranks_(ranks), seed_(seed) {}

  std::vector<Variant> make() {
    add_plain();
    add_masks();
    add_uneven();
    add_shared();
    add_special();
    if (dispatches())
      add_quantised();
    else
      add_combined();
    return std::move(list_);
  }

 private:
  bool dispatches() const { return op_.has(OperandId::kX); }

  MoeCase& add(OperandSet with, std::int64_t experts, int top_k) {
    Case& made = list_.emplace_back().made;
    made.shape = shape_;
    made.row = &row_;
    made.with = with;
    made.seed = seed_ + list_.size() - 1;
    made.moe.attributes.experts.moe_expert_num = experts;
    made.moe.top_k = top_k;
    return made.moe;
  }

  void add_plain() {
    add(kNone, 2 * ranks_, 2).attributes.tokens_are_ends = dispatches();
    add(kNone, 8 * ranks_, 8);
    if (op_.in_place_operand()) list_.back().outputs = OutputForm::kInPlace;
    if (std::ranges::any_of(op_.traits().outputs, &OutputTraits::optional))
      list_.back().outputs = OutputForm::kRequiredOnly;
  }

  void add_masks() {
    add({OperandId::kXActiveMask}, 3 * ranks_, 3);
    add({OperandId::kXActiveMask}, 2 * ranks_, 1).mask_axes = 1;
  }

  /// Experts that do not divide by the ranks, also fewer than ranks.
  void add_uneven() {
    add(kNone, 2 * ranks_ + 1, 3).strays = true;
    add({OperandId::kXActiveMask}, 1, 1);
  }

  /// One shared expert or two, each on one rank or more; three do not divide the other ranks.
  void add_shared() {
    for (const auto& [shared, places] : {std::pair(1, 1), {2, 2}, {1, 2}, {2, 4}, {1, 3}}) {
      if (places >= ranks_) continue;
      MoeExperts& experts =
          add({OperandId::kXActiveMask}, 2 * (ranks_ - places) + 1, 2).attributes.experts;
      experts.shared_expert_num = shared;
      experts.shared_expert_rank_num = places;
    }
  }

  void add_special() {
    for (bool wide : {false, true}) {
      MoeCase& c = add(kNone, ranks_, wide ? 5 : 2);
      c.wide_alphas = wide;
      c.strays = wide;
      MoeExperts& experts = c.attributes.experts;
      experts.zero_expert_num = 1;
      experts.copy_expert_num = 2;
      experts.const_expert_num = 2;
    }
  }

  void add_quantised() {
    add(kNone, 2 * ranks_, 2).attributes.quantise = true;
    add({OperandId::kScales}, 3 * ranks_ + 1, 4).attributes.quantise = true;
    if (ranks_ == 1) return;
    MoeAttributes& attributes =
        add({OperandId::kScales, OperandId::kXActiveMask}, 2 * ranks_, 2).attributes;
    attributes.quantise = true;
    attributes.experts.shared_expert_num = attributes.experts.shared_expert_rank_num = 1;
  }

  void add_combined() {
    add({OperandId::kSharedExpertX}, 2 * ranks_, 2);
    add({OperandId::kSharedExpertX, OperandId::kXActiveMask}, 4 * ranks_, 4)
        .attributes.int8_communication = true;
  }

  const Shape& shape_;
  const DTypeRow& row_;
  const Operator& op_;
  int ranks_;
  std::uint64_t seed_;
  std::vector<Variant> list_;
};

}  // namespace

std::vector<Variant> moe_variants(const Shape& shape, const DTypeRow& row, int ranks,
                                  std::uint64_t seed) {
  return Maker(shape, row, ranks, seed).make();
}

}  // namespace weft::tools
