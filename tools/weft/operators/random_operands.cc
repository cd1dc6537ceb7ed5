// SPDX-License-Identifier: Apache-2.0
#include "operators/random_operands.h"

#include <algorithm>
#include <cmath>

namespace weft::tools {
RandomOperands::RandomOperands(const Case& c, int rank, int ranks, bool with_values)
    : case_(c),
      row_(*c.row),
      rank_(rank),
      ranks_(ranks),
      with_values_(with_values),
      root_k_(std::sqrt(static_cast<double>(std::max<std::int64_t>(c.shape.k_total(ranks), 1)))) {
  made_.io = row_.io;
  made_.epsilon = c.epsilon;
  made_.rank = rank;
}

bool RandomOperands::wanted(OperandId id) const {
  if (!case_.op().dtype(row_, id)) return false;
  const std::vector<OperandId> choices = case_.op().row_choices(row_);
  return std::ranges::count(choices, id) == 0 || case_.with.has(id);
}

Random RandomOperands::random(OperandId id) const {
  const bool tail = id == OperandId::kResidual || id == OperandId::kGamma;
  const bool shared = id == OperandId::kCommQuantScale1 || id == OperandId::kCommQuantScale2 ||
                      (tail && case_.equal_tail);
  return Random(case_.seed, shared ? 0 : rank_, static_cast<int>(id));
}

/// Null if there is nothing to fill.
std::byte* RandomOperands::allocate(OperandId id, std::vector<std::int64_t> dims) {
  if (!status_.ok() || !wanted(id)) return nullptr;
  Result<Operand> operand = Operands::make(id, *case_.op().dtype(row_, id), std::move(dims));
  if (!operand.ok()) {
    status_ = operand.status();
    return nullptr;
  }
  made_[id] = std::move(operand).value();
  made_[id].source = "random";
  // Fresh pages that nobody touches cost nothing.
  return with_values_ ? made_[id].memory.data() : nullptr;
}

void RandomOperands::add(OperandId id, std::vector<std::int64_t> dims, double low, double high) {
  std::byte* to = allocate(id, std::move(dims));
  if (to == nullptr) return;
  Random values = random(id);
  const ConstTensorRef& tensor = made_.tensor(id);
  fill(values, tensor.dtype(), low, high, tensor.elements(), to);
}

void RandomOperands::add_weight(OperandId id, std::vector<std::int64_t> dims, bool transposed,
                                double most) {
  if (transposed) std::swap(dims[dims.size() - 2], dims[dims.size() - 1]);
  add(id, std::move(dims), -most, most);
  Operand& weight = made_[id];
  if (transposed && weight.given()) weight.tensor = weight.tensor.transposed();
}

void RandomOperands::add_rows(OperandId id, std::vector<std::int64_t> dims, std::int64_t rows,
                              double low, double high) {
  constexpr std::int64_t kNanRows = 4;
  constexpr std::uint16_t kNan = 0x7fff;  // of float16 and of bfloat16
  std::byte* to = allocate(id, dims);
  if (to == nullptr) return;
  Random values = random(id);
  fill(values, made_.tensor(id).dtype(), low, high, rows * dims[1], to);
  auto* elements = reinterpret_cast<std::uint16_t*>(to);
  std::fill(elements + rows * dims[1], elements + std::min(rows + kNanRows, dims[0]) * dims[1],
            kNan);
}

void RandomOperands::add_product() {
  const std::int64_t k = case_.shape.k_of(rank_), n = case_.shape.n;
  std::vector<std::int64_t> x1_dims = case_.shape.rows;
  x1_dims.push_back(k);
  add(OperandId::kX1, x1_dims, -1, 1);
  // x1 uniform in (-1, 1) and this range give a sum over all ranks with variance 1.
  add_weight(OperandId::kX2, {k, n}, case_.transpose_x2, 3 / root_k_);
  add_scales();
  const double spread = spread_of_integers(8);
  const double most = row_.bias == DType::kInt32 ? spread * spread * root_k_ : 1;
  add(OperandId::kBias, {n}, -most, most);
}

std::vector<std::int64_t> RandomOperands::scale_dims() const {
  switch (case_.scale) {
    case ScaleShape::kTensor:
      return {1};
    case ScaleShape::kColumn:
      return {case_.shape.n};
    case ScaleShape::kColumn2d:
      return {1, case_.shape.n};
    case ScaleShape::kGroup:
      break;
  }
  return {ceil_div(case_.shape.k_of(rank_), case_.group_size), case_.shape.n};
}

void RandomOperands::add_scales() {
  const std::int64_t m = case_.shape.m();
  const double spread = spread_of_integers(8);
  const double quant = 1 / (spread * spread * root_k_);
  add(OperandId::kDequantScale, scale_dims(), 0.5 * quant, 1.5 * quant);
  add(OperandId::kX2Scale, scale_dims(), 0.5 * quant, 1.5 * quant);
  add(OperandId::kPertokenScale, {m}, 0.5, 1.5);
  const bool matrix = case_.scale == ScaleShape::kColumn2d;
  add(OperandId::kX1Scale, matrix ? std::vector{m, std::int64_t{1}} : std::vector{m}, 0.5, 1.5);
  const int bits = info(row_.x2).bits;
  const double restored = std::sqrt(3.0) / (spread_of_integers(bits) * root_k_);
  add(OperandId::kAntiquantScale, scale_dims(), 0.5 * restored, 1.5 * restored);
  const double offset = bits == 8 ? 16 : 2;
  add(OperandId::kAntiquantOffset, scale_dims(), -offset, offset);
  if (wanted(OperandId::kAntiquantScale) && case_.scale == ScaleShape::kGroup)
    made_.group_size = case_.group_size;
}

void RandomOperands::add_comm_scales() {
  // Partials are below 4 in most places, and so is their sum divided by the root of the ranks.
  const double step = 4.0 / 127;
  add_comm_scale(OperandId::kCommQuantScale1, step);
  add_comm_scale(OperandId::kCommQuantScale2, step * std::sqrt(ranks_));
}

void RandomOperands::add_comm_scale(OperandId id, double step) {
  const std::int64_t n = case_.shape.n;
  const bool matrix = case_.scale == ScaleShape::kColumn2d;
  std::byte* to = allocate(id, matrix ? std::vector{std::int64_t{1}, n} : std::vector{n});
  if (to == nullptr) return;
  Random values = random(id);
  for (std::int64_t j = 0; j < n; ++j) {
    const double s = values.next() % 8 == 0 ? step / 16 : step;
    fill_floats(values, row_.io, 0.5 * s, 1.5 * s, 1, to + bytes_of(row_.io, j));
  }
}

Result<Operands> RandomOperands::take() {
  WEFT_RETURN_IF_ERROR(status_);
  return std::move(made_);
}

}  // namespace weft::tools
