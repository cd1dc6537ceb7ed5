// SPDX-License-Identifier: Apache-2.0
#include "operators/variants.h"

#include <algorithm>

namespace weft::tools {
namespace {

constexpr OperandSet kCommScales = {OperandId::kCommQuantScale1, OperandId::kCommQuantScale2};

/// Makes the variants one by one, each with a seed of its own.
class Maker {
 public:
  Maker(const Shape& shape, const DTypeRow& row, int ranks, std::uint64_t seed)
      : shape_(shape), row_(row), op_(operator_of(row)), seed_(seed), least_k_(shape.k_of(0)) {
    for (int r = 0; r < ranks; ++r) {
      least_k_ = std::min(least_k_, shape.k_of(r));
      even_k_ = even_k_ && shape.k_of(r) % 2 == 0;
    }
    for (OperandId id : op_.row_choices(row)) {
      if (kCommScales.has(id))
        has_comm_ = true;
      else
        all_.add(id);
    }
  }

  std::vector<Variant> make() {
    add_plain();
    add(all_, ScaleShape::kColumn).transpose_x2 = can_transpose();
    list_.back().made.equal_tail = true;
    if (std::ranges::any_of(op_.traits().outputs, &OutputTraits::optional)) {
      add(all_, ScaleShape::kColumn);
      list_.back().outputs = OutputForm::kRequiredOnly;
    }
    if (scaled()) add(all_, can_group() ? ScaleShape::kGroup : ScaleShape::kColumn2d);
    if (can_be_nz()) add_nz();
    if (has_comm_) add_comm();
    return std::move(list_);
  }

 private:
  Case& add(OperandSet with, ScaleShape scale) {
    Case& made = list_.emplace_back().made;
    made.shape = shape_;
    made.row = &row_;
    made.with = with;
    made.scale = scale;
    made.seed = seed_ + list_.size() - 1;
    return made;
  }

  /// As little as possible, and in place where there is such a form.
  void add_plain() {
    const std::optional<OperandId> in_place = op_.in_place_operand();
    const std::vector<OperandId> choices = op_.row_choices(row_);
    if (!in_place || std::ranges::count(choices, *in_place) > 0) add({}, ScaleShape::kTensor);
    if (!in_place) return;
    add({*in_place}, ScaleShape::kTensor);
    list_.back().outputs = OutputForm::kInPlace;
  }

  void add_nz() {
    add({}, ScaleShape::kColumn);
    list_.back().nz_x2 = true;
    add(all_, ScaleShape::kColumn2d).transpose_x2 = true;
    list_.back().nz_x2 = true;
  }

  void add_comm() {
    add(kCommScales, ScaleShape::kColumn2d).transpose_x2 = can_transpose();
    OperandSet with = all_;
    with.add(OperandId::kCommQuantScale1);
    with.add(OperandId::kCommQuantScale2);
    add(with, ScaleShape::kColumn);
  }

  bool int4() const { return row_.x2 == DType::kInt4; }
  bool scaled() const { return op_.traits().matmul && row_.scenario() != ops::Scenario::kFloat; }
  // Adjacent int4 weights come in pairs.
  bool can_transpose() const { return op_.traits().matmul && least_k_ > 0 && (!int4() || even_k_); }
  bool can_be_nz() const { return op_.traits().nz_weights && least_k_ > 0 && !int4(); }
  // A group is shorter than k.
  bool can_group() const {
    return row_.scenario() == ops::Scenario::kWeightQuant && least_k_ > Case().group_size;
  }

  const Shape& shape_;
  const DTypeRow& row_;
  const Operator& op_;
  std::uint64_t seed_;
  std::int64_t least_k_;
  bool even_k_ = true;
  OperandSet all_;  ///< everything optional but int8 communication
  bool has_comm_ = false;
  std::vector<Variant> list_;
};

}  // namespace

std::string Variant::text(int ranks) const {
  std::string text = made.text(ranks);
  if (nz_x2) text += ", x2 FRACTAL_NZ";
  if (outputs == OutputForm::kInPlace) text += ", in place";
  if (outputs == OutputForm::kRequiredOnly) text += ", only required outputs";
  return text;
}

std::vector<Variant> Operator::variants(const Shape& shape, const DTypeRow& row, int ranks,
                                        std::uint64_t seed) const {
  return Maker(shape, row, ranks, seed).make();
}

}  // namespace weft::tools
