// SPDX-License-Identifier: Apache-2.0
#include "operator_case.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/fractal_nz.h"
#include "base/memory.h"
#include "ops/matmul_allreduce/reference.h"
#include "ops/matmul_allreduce_add_rmsnorm/reference.h"
#include "ops/matmul_reduce_scatter/reference.h"
#include "weft/weights.h"

namespace weft::testing {
namespace {

using tools::ScaleShape;
using Extents = std::vector<std::int64_t>;

constexpr tools::OperandSet kCommScales = {OperandId::kCommQuantScale1,
                                           OperandId::kCommQuantScale2};

// What turns sums of 8-bit products into numbers that float16 can hold.
constexpr tools::OperandSet kSmallScales = {OperandId::kDequantScale, OperandId::kX2Scale,
                                            OperandId::kAntiquantScale,
                                            OperandId::kAntiquantOffset};

Extents vector_of(std::span<const std::int64_t> values) { return {values.begin(), values.end()}; }

std::int64_t rows_of(const ConstTensorRef& tensor) {
  std::int64_t rows = 1;
  for (int i = 0; i + 1 < tensor.rank(); ++i) rows *= tensor.dim(i);
  return rows;
}

Extents x1_strides(const ConstTensorRef& x1, const Layout& layout) {
  const Extents dims = vector_of(x1.dims());
  if (!layout.x1_swapped)
    return padded_strides(dims, layout.x1_padded ? 5 : 0, layout.x1_padded ? 7 : 0);
  const std::int64_t k_stride = rows_of(x1) + (layout.x1_padded ? 3 : 0);
  if (dims.size() == 2) return {1, k_stride};
  return {dims[1], 1, k_stride};
}

Extents x2_strides(const ConstTensorRef& x2, const Layout& layout) {
  // An odd gap, so that rows of int4 begin in the middle of a byte.
  const std::int64_t gap = layout.x2_padded ? 3 : 0;
  if (x2.stride(0) == 1 && x2.stride(1) != 1) return {1, x2.dim(0) + gap};
  return {x2.dim(1) + gap, 1};
}

// Every third element used; a scale per group as the view of an (n, groups) matrix.
Extents vector_strides(const ConstTensorRef& from, const Layout& layout) {
  Extents strides = padded_strides(vector_of(from.dims()), 0, 0);
  if (!layout.vectors_strided) return strides;
  for (std::int64_t& stride : strides) stride *= 3;
  if (from.rank() == 2) strides = {3, 3 * from.dim(0) + 1};
  return strides;
}

/// The image of a dense matrix, or of its transposed; of zeros, if the dtype has none.
GuardedTensor as_fractal_nz(const ConstTensorRef& dense, bool transposed) {
  const std::int64_t rows = dense.dim(0), columns = dense.dim(1);
  const DType dtype = dense.dtype();
  std::vector<std::byte> image(static_cast<std::size_t>(FractalNz(dtype, rows, columns).bytes()));
  const TensorRef view = TensorRef::fractal_nz(image.data(), dtype, rows, columns);
  if (dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kInt8) {
    Context context = Context::create({.threads = 1}).value();
    EXPECT_TRUE(dense.elements() == 0 || pack_fractal_nz(context, dense, view).ok());
  }
  return GuardedTensor::fractal_nz(transposed ? view.transposed() : view);
}

GuardedTensor lay_out(OperandId id, const ConstTensorRef& from, const Layout& layout) {
  if (!from.given()) return {};
  const std::int64_t gap = layout.rows_padded ? 9 : 0;
  switch (id) {
    case OperandId::kX1:
      return {from, x1_strides(from, layout)};
    case OperandId::kX2:
      if (layout.weight == WeightForm::kFractalNz)
        return from.dense() ? as_fractal_nz(from, false) : as_fractal_nz(from.transposed(), true);
      return {from, x2_strides(from, layout)};
    case OperandId::kX3:
    case OperandId::kResidual:
      return {from, padded_strides(vector_of(from.dims()), gap, gap + gap / 4)};
    default:
      return {from, vector_strides(from, layout)};
  }
}

bool all_at_least(const Extents& values, std::int64_t least) {
  return std::ranges::all_of(values, [least](std::int64_t v) { return v >= least; });
}

bool all_even(const Extents& values) {
  return std::ranges::all_of(values, [](std::int64_t v) { return v % 2 == 0; });
}

bool is_weight_quant(const tools::Case& c) {
  return c.row->scenario() == ops::Scenario::kWeightQuant;
}

// The operators say what they refuse; this only keeps away from it.
void make_legal(tools::Case& c, int ranks) {
  const bool allreduce = &c.op() == &tools::matmul_allreduce_operator();
  if (!allreduce || c.row->scenario() == ops::Scenario::kQuant)
    for (std::int64_t& k : c.shape.k) k = std::max<std::int64_t>(k, 1);
  if (&c.op() == &tools::matmul_reduce_scatter_operator())
    c.shape.rows = {ceil_div(c.shape.m(), ranks) * ranks};
  // The adjacent axis of packed nibbles is even.
  if (c.row->x2 == DType::kInt4 && c.shape.n % 2 == 1)
    for (std::int64_t& k : c.shape.k) k += k % 2;
}

// Which of the layouts of the weight are legal, and one of them.
void choose_weight(OperatorCase& c, tools::Random& random) {
  tools::Case& o = c.operands;
  const bool int4 = o.row->x2 == DType::kInt4, has_depth = all_at_least(o.shape.k, 1);
  o.transpose_x2 = random.next() % 2 == 1;
  if (int4 && o.shape.n % 2 == 1) o.transpose_x2 = true;
  if ((int4 && !all_even(o.shape.k)) || !has_depth) o.transpose_x2 = false;
  c.layout.x2_padded = random.next() % 2 == 1;
  const std::uint64_t form = random.next() % 4;
  if (!has_depth || int4) return;
  if (form == 0 && c.op().traits().nz_weights && o.scale != ScaleShape::kGroup)
    c.layout.weight = WeightForm::kFractalNz;
  if (form == 1 && !is_weight_quant(o)) c.layout.weight = WeightForm::kPacked;
}

// All rows, or as many as the budget allows, other ones on every rank.
Extents rows_to_check(std::int64_t rows, double multiplies_of_a_row, int rank, double multiplies) {
  const double affordable = multiplies / std::max(multiplies_of_a_row, 1.0);
  const std::int64_t least = std::min<std::int64_t>(rows, 2);
  const std::int64_t count = affordable > static_cast<double>(rows)
                                 ? rows
                                 : std::clamp(static_cast<std::int64_t>(affordable), least, rows);
  Extents checked;
  for (std::int64_t i = 0; i < count; ++i) checked.push_back((i * rows / count + rank * 5) % rows);
  return checked;
}

}  // namespace

bool can_communicate_int8(std::string_view row) {
  const tools::DTypeRow& found = *tools::find_dtype_row(row).value();
  return tools::operator_of(found).dtype(found, OperandId::kCommQuantScale1).has_value();
}

OperatorCase plain_case(std::string_view row, std::string_view shape, std::uint64_t seed) {
  OperatorCase c;
  c.operands.shape = tools::parse_shape(shape).value();
  c.operands.row = tools::find_dtype_row(row).value();
  c.operands.seed = seed;
  return c;
}

void add_options(OperatorCase& c, bool int8_communication) {
  for (OperandId id : c.op().row_choices(*c.operands.row))
    if (int8_communication || !kCommScales.has(id)) c.operands.with.add(id);
}

OperatorCase random_case(std::string_view row, std::string_view shape, int ranks,
                         std::uint64_t seed) {
  OperatorCase c = plain_case(row, shape, seed);
  tools::Random random(seed, ranks, 1000);
  const auto coin = [&] { return random.next() % 2 == 1; };
  tools::Case& o = c.operands;
  make_legal(o, ranks);
  const bool int8_communication = coin();
  for (OperandId id : c.op().row_choices(*o.row))
    if (kCommScales.has(id) ? int8_communication : coin()) o.with.add(id);
  o.equal_tail = random.next() % 4 == 0;
  o.epsilon = coin() ? 1e-6 : 1e-3;
  o.scale = static_cast<ScaleShape>(random.next() % 4);
  // Groups of 32 need k of at least 33, and only restored weights have groups.
  if (o.scale == ScaleShape::kGroup && (!is_weight_quant(o) || !all_at_least(o.shape.k, 33)))
    o.scale = ScaleShape::kColumn;
  choose_weight(c, random);
  Layout& layout = c.layout;
  layout.x1_padded = coin();
  layout.x1_swapped = random.next() % 3 == 0;
  // matmul_reduce_scatter refuses exactly the transposed view.
  if (layout.x1_swapped && &c.op() == &tools::matmul_reduce_scatter_operator())
    layout.x1_padded = true;
  layout.vectors_strided = coin();
  layout.rows_padded = coin();
  layout.outputs_padded = coin();
  const std::optional<OperandId> in_place = c.op().in_place_operand();
  layout.in_place = in_place && random.next() % 3 == 0;
  if (layout.in_place) o.with.add(*in_place);
  constexpr std::int64_t kRows[] = {0, 0, 0, 1, 5, 16};
  c.super_block_rows = kRows[random.next() % std::size(kRows)];
  return c;
}

std::string OperatorCase::text(int ranks) const {
  std::string text = operands.text(ranks);
  const std::pair<bool, std::string_view> flags[] = {
      {layout.x1_padded, "x1 padded"},
      {layout.x1_swapped, "x1 swapped"},
      {layout.x2_padded, "x2 padded"},
      {layout.weight == WeightForm::kFractalNz, "x2 FRACTAL_NZ"},
      {layout.weight == WeightForm::kPacked, "x2 packed"},
      {layout.vectors_strided, "strided vectors"},
      {layout.rows_padded, "x3 or residual padded"},
      {layout.outputs_padded, "outputs padded"},
      {layout.in_place, "in place"}};
  for (const auto& [set, name] : flags)
    if (set) text += fmt::format(", {}", name);
  if (super_block_rows) text += fmt::format(", super-blocks of {}", super_block_rows);
  return text;
}

RankData::RankData(const OperatorCase& c, int rank, int ranks) {
  const tools::Operands dense = tools::RandomSource(c.operands).make(rank, ranks).value();
  for (int i = 0; i < tools::kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    (*this)[id] = lay_out(id, dense.tensor(id), c.layout);
  }
  if (c.layout.in_place) in_place_ = c.op().in_place_operand();
  const bool padded = c.layout.outputs_padded;
  for (const tools::OutputSpec& spec : c.op().outputs(dense, ranks, tools::OutputForm::kSeparate))
    add_output(spec.like,
               padded_strides(vector_of(spec.like.dims()), padded ? 1 : 0, padded ? 13 : 0));
  group_size_ = dense.group_size;
  epsilon_ = dense.epsilon;
}

void RankData::add_random(OperandId id, const ConstTensorRef& like, std::uint64_t seed, int rank) {
  const bool transposed = like.fractal_nz_transposed();
  const ConstTensorRef stored = transposed ? like.transposed() : like;
  std::vector<std::byte> memory(static_cast<std::size_t>(bytes_of(like.dtype(), like.elements())));
  const ConstTensorRef dense(memory.data(), like.dtype(), stored.dims());
  tools::Random random(seed, kCommScales.has(id) ? 0 : rank, static_cast<int>(id));
  const bool is_small = kSmallScales.has(id);
  const double most = like.dtype() == DType::kInt32 ? 1000 : is_small ? 1e-3 : 1;
  // Where there is nothing to compute, operands may have any dtype.
  if (like.dtype() != DType::kBool)
    tools::fill(random, like.dtype(), is_small ? 1e-4 : 0.01, most, like.elements(), memory.data());
  (*this)[id] = like.format() == Format::kFractalNz
                    ? as_fractal_nz(dense, transposed)
                    : GuardedTensor(dense, vector_of(like.strides()));
}

void RankData::add_output(const ConstTensorRef& like, const Extents& strides) {
  const bool shared = outputs_.empty() && in_place_;
  outputs_.push_back(shared ? GuardedTensor()
                            : GuardedTensor(like.dtype(), vector_of(like.dims()), strides));
}

tools::Operands RankData::inputs(bool original) const {
  tools::Operands operands;
  for (int i = 0; i < tools::kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    operands[id].tensor = original ? (*this)[id].original() : (*this)[id].view();
  }
  operands.group_size = group_size_;
  operands.epsilon = epsilon_;
  return operands;
}

Bits RankData::bits() const {
  Bits all;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const Bits bits = output(i).bits();
    all.insert(all.end(), bits.begin(), bits.end());
  }
  return all;
}

bool RankData::guards_intact() const {
  for (int i = 0; i < tools::kOperands; ++i) {
    const auto id = static_cast<OperandId>(i);
    const GuardedTensor& tensor = (*this)[id];
    if (id == in_place_ ? !tensor.guards_intact() : !tensor.unchanged()) return false;
  }
  return std::ranges::all_of(outputs_, &GuardedTensor::guards_intact);
}

bool RankData::outputs_untouched() const {
  return std::ranges::all_of(outputs_, &GuardedTensor::unchanged) && output().unchanged();
}

void RankData::reset() {
  for (GuardedTensor& tensor : operands_) tensor.reset();
  for (GuardedTensor& tensor : outputs_) tensor.reset();
}

Ranks make_ranks(const OperatorCase& c, int ranks) {
  Ranks data;
  for (int rank = 0; rank < ranks; ++rank)
    data.push_back(std::make_unique<RankData>(c, rank, ranks));
  return data;
}

template <typename Args>
void expect_correct(const Ranks& data, int rank, double multiplies) {
  std::vector<Args> args;
  double of_a_row = 0;
  for (const auto& each : data) {
    args.push_back(each->reference_args<Args>());
    const ConstTensorRef& x2 = args.back().x2;
    of_a_row += static_cast<double>(x2.dim(0)) * static_cast<double>(x2.dim(1));
  }
  const RankData& own = *data[static_cast<std::size_t>(rank)];
  for (std::int64_t row : rows_to_check(rows_of(own.output().view()), of_a_row, rank, multiplies)) {
    const ops::RowError error = ops::check_row(args, rank, row);
    ASSERT_LE(error.worst, 1) << error.where << ", rank " << rank << ", row " << row;
  }
  EXPECT_TRUE(own.guards_intact()) << "wrote where it must not, rank " << rank;
}
template void expect_correct<MatmulAllReduceArgs>(const Ranks&, int, double);
template void expect_correct<MatmulAllReduceAddRmsNormArgs>(const Ranks&, int, double);
template void expect_correct<MatmulReduceScatterArgs>(const Ranks&, int, double);

void expect_correct(const OperatorCase& c, const Ranks& data, int rank, double multiplies) {
  SCOPED_TRACE(c.text(static_cast<int>(data.size())));
  with_args_of(c.op(), [&](auto args) { expect_correct<decltype(args)>(data, rank, multiplies); });
}

GroupOptions operator_group_options() {
  GroupOptions options;
  options.window_bytes = 32 << 20;
  options.connect_timeout_s = 60;
  options.exec_timeout_s = 60;
  return options;
}

}  // namespace weft::testing
