// SPDX-License-Identifier: Apache-2.0
#include "operator_case.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "ops/matmul_allreduce_add_rmsnorm/reference.h"

namespace weft::testing {
namespace {

using tools::OperandId;
using tools::ScaleShape;

std::vector<std::int64_t> vector_of(std::span<const std::int64_t> values) {
  return {values.begin(), values.end()};
}

std::vector<std::int64_t> x1_strides(const ConstTensorRef& x1, const Layout& layout) {
  const std::vector<std::int64_t> dims = vector_of(x1.dims());
  if (!layout.x1_swapped)
    return padded_strides(dims, layout.x1_padded ? 5 : 0, layout.x1_padded ? 7 : 0);
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < dims.size(); ++i) rows *= dims[i];
  const std::int64_t k_stride = rows + (layout.x1_padded ? 3 : 0);
  if (dims.size() == 2) return {1, k_stride};
  return {dims[1], 1, k_stride};
}

std::vector<std::int64_t> x2_strides(const ConstTensorRef& x2, const Layout& layout) {
  // An odd gap, so that rows of int4 begin in the middle of a byte.
  const std::int64_t gap = layout.x2_padded ? 3 : 0;
  if (x2.stride(0) == 1 && x2.stride(1) != 1) return {1, x2.dim(0) + gap};
  return {x2.dim(1) + gap, 1};
}

// A vector or scale matrix with every third element used.
GuardedTensor vector_operand(const ConstTensorRef& from, const Layout& layout) {
  if (!from.given()) return {};
  std::vector<std::int64_t> strides = padded_strides(vector_of(from.dims()), 0, 0);
  if (layout.vectors_strided)
    for (std::int64_t& stride : strides) stride *= 3;
  return {from, strides};
}

bool all_at_least(const std::vector<std::int64_t>& values, std::int64_t least) {
  return std::ranges::all_of(values, [least](std::int64_t v) { return v >= least; });
}

bool all_even(const std::vector<std::int64_t>& values) {
  return std::ranges::all_of(values, [](std::int64_t v) { return v % 2 == 0; });
}

// All rows, or as many as the budget allows, other ones on every rank.
std::vector<std::int64_t> rows_to_check(const tools::Shape& shape, int rank, int ranks,
                                        double multiplies) {
  const std::int64_t m = shape.m();
  const double of_a_row = static_cast<double>(shape.k_total(ranks) * shape.n);
  const auto affordable = static_cast<std::int64_t>(multiplies / of_a_row);
  const std::int64_t count = std::clamp<std::int64_t>(affordable, std::min<std::int64_t>(m, 2), m);
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back((i * m / count + rank * 5) % m);
  return rows;
}

}  // namespace

OperatorCase plain_case(std::string_view row, std::string_view shape, std::uint64_t seed) {
  OperatorCase c;
  c.operands.shape = tools::parse_shape(shape).value();
  c.operands.row = tools::find_dtype_row(row).value();
  c.operands.seed = seed;
  return c;
}

OperatorCase random_case(std::string_view row, std::string_view shape, int ranks,
                         std::uint64_t seed) {
  OperatorCase c = plain_case(row, shape, seed);
  tools::Random random(seed, ranks, 1000);
  const auto coin = [&] { return random.next() % 2 == 1; };
  tools::Case& o = c.operands;
  if (coin()) o.with.add(OperandId::kBias);
  if (coin()) o.with.add(OperandId::kAntiquantOffset);
  o.transpose_x2 = coin();
  o.equal_tail = random.next() % 4 == 0;
  o.epsilon = coin() ? 1e-6 : 1e-3;
  o.scale = static_cast<ScaleShape>(random.next() % 4);
  // Groups of 32 need k of at least 33, and only restored weights have groups.
  const bool groups = o.row->scenario() == ops::Scenario::kWeightQuant;
  if (o.scale == ScaleShape::kGroup && (!groups || !all_at_least(o.shape.k, 33)))
    o.scale = ScaleShape::kColumn;
  if (o.row->x2 == DType::kInt4) {
    // The adjacent axis of packed nibbles is even.
    if (!all_even(o.shape.k) && o.shape.n % 2 == 1)
      for (std::int64_t& k : o.shape.k) k += k % 2;
    if (o.shape.n % 2 == 1) o.transpose_x2 = true;
    if (!all_even(o.shape.k)) o.transpose_x2 = false;
  }
  Layout& layout = c.layout;
  layout.x1_padded = coin();
  layout.x1_swapped = random.next() % 3 == 0;
  layout.x2_padded = coin();
  layout.vectors_strided = coin();
  layout.residual_padded = coin();
  layout.outputs_padded = coin();
  layout.in_place = random.next() % 3 == 0;
  constexpr std::int64_t kRows[] = {0, 0, 0, 1, 5, 16};
  c.super_block_rows = kRows[random.next() % std::size(kRows)];
  return c;
}

std::string OperatorCase::text(int ranks) const {
  std::string text = operands.text(ranks);
  const std::pair<bool, std::string_view> flags[] = {{layout.x1_padded, "x1 padded"},
                                                     {layout.x1_swapped, "x1 swapped"},
                                                     {layout.x2_padded, "x2 padded"},
                                                     {layout.vectors_strided, "strided vectors"},
                                                     {layout.residual_padded, "residual padded"},
                                                     {layout.outputs_padded, "outputs padded"},
                                                     {layout.in_place, "in place"}};
  for (const auto& [set, name] : flags)
    if (set) text += fmt::format(", {}", name);
  if (super_block_rows) text += fmt::format(", super-blocks of {}", super_block_rows);
  return text;
}

RankData::RankData(const OperatorCase& c, int rank, int ranks) : in_place_(c.layout.in_place) {
  const tools::Operands dense = tools::RandomSource(c.operands).make(rank, ranks).value();
  const auto tensor = [&](OperandId id) { return dense[id].tensor; };
  const Layout& layout = c.layout;
  x1_ = {tensor(OperandId::kX1), x1_strides(tensor(OperandId::kX1), layout)};
  x2_ = {tensor(OperandId::kX2), x2_strides(tensor(OperandId::kX2), layout)};
  bias_ = vector_operand(tensor(OperandId::kBias), layout);
  dequant_scale_ = vector_operand(tensor(OperandId::kDequantScale), layout);
  antiquant_scale_ = vector_operand(tensor(OperandId::kAntiquantScale), layout);
  antiquant_offset_ = vector_operand(tensor(OperandId::kAntiquantOffset), layout);
  gamma_ = vector_operand(tensor(OperandId::kGamma), layout);
  const ConstTensorRef residual = tensor(OperandId::kResidual);
  const std::vector<std::int64_t> dims = vector_of(residual.dims());
  residual_ = {residual, padded_strides(dims, layout.residual_padded ? 9 : 0,
                                        layout.residual_padded ? 11 : 0)};
  const auto outputs =
      padded_strides(dims, layout.outputs_padded ? 1 : 0, layout.outputs_padded ? 13 : 0);
  if (!in_place_) y_ = {residual.dtype(), dims, outputs};
  norm_out_ = {residual.dtype(), dims, outputs};
  group_size_ = dense.group_size;
  epsilon_ = dense.epsilon;
}

MatmulAllReduceAddRmsNormArgs RankData::args() const {
  MatmulAllReduceAddRmsNormArgs args;
  args.x1 = x1_.view();
  args.x2 = x2_.view();
  args.bias = bias_.view();
  args.dequant_scale = dequant_scale_.view();
  args.antiquant_scale = antiquant_scale_.view();
  args.antiquant_offset = antiquant_offset_.view();
  args.antiquant_group_size = group_size_;
  args.residual = residual_.view();
  args.gamma = gamma_.view();
  args.epsilon = epsilon_;
  args.y = y().writable();
  args.norm_out = norm_out_.writable();
  return args;
}

MatmulAllReduceAddRmsNormArgs RankData::reference_args() const {
  MatmulAllReduceAddRmsNormArgs args = this->args();
  args.residual = residual_.original();
  return args;
}

std::vector<std::uint16_t> RankData::bits() const {
  std::vector<std::uint16_t> all = y().bits();
  const std::vector<std::uint16_t> norm = norm_out_.bits();
  all.insert(all.end(), norm.begin(), norm.end());
  return all;
}

bool RankData::guards_intact() const {
  const bool inputs = x1_.unchanged() && x2_.unchanged() && bias_.unchanged() &&
                      dequant_scale_.unchanged() && antiquant_scale_.unchanged() &&
                      antiquant_offset_.unchanged() && gamma_.unchanged() &&
                      (in_place_ || residual_.unchanged());
  return inputs && y().guards_intact() && norm_out_.guards_intact();
}

void RankData::reset() {
  residual_.reset();
  y_.reset();
  norm_out_.reset();
}

Ranks make_ranks(const OperatorCase& c, int ranks) {
  Ranks data;
  for (int rank = 0; rank < ranks; ++rank)
    data.push_back(std::make_unique<RankData>(c, rank, ranks));
  return data;
}

void expect_correct(const OperatorCase& c, const Ranks& data, int rank, double multiplies) {
  const int ranks = static_cast<int>(data.size());
  std::vector<MatmulAllReduceAddRmsNormArgs> args;
  for (const auto& each : data) args.push_back(each->reference_args());
  for (std::int64_t row : rows_to_check(c.operands.shape, rank, ranks, multiplies)) {
    const ops::RowError error = ops::check_row(args, rank, row);
    ASSERT_LE(error.worst, 1) << error.where << ", rank " << rank << ", row " << row << ": "
                              << c.text(ranks);
  }
  EXPECT_TRUE(data[static_cast<std::size_t>(rank)]->guards_intact())
      << "wrote where it must not, rank " << rank << ": " << c.text(ranks);
}

GroupOptions operator_group_options() {
  GroupOptions options;
  options.window_bytes = 32 << 20;
  options.connect_timeout_s = 60;
  options.exec_timeout_s = 60;
  return options;
}

}  // namespace weft::testing
