// SPDX-License-Identifier: Apache-2.0
#include "ffn_case.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "ops/ffn/contract.h"
#include "ops/ffn/reference.h"
#include "used_context.h"

namespace weft::testing {
namespace {

Dims dense_strides(const Dims& dims) { return padded_strides(dims, 0, 0); }

Dims row_strides(const Dims& dims, RowLayout layout) {
  switch (layout) {
    case RowLayout::kDense:
      break;
    case RowLayout::kPadded:
      return padded_strides(dims, 5, 3);
    case RowLayout::kSwapped: {
      Dims leading(dims.begin(), dims.end() - 1);
      Dims strides = dense_strides(leading);
      std::int64_t rows = 1;
      for (std::int64_t extent : leading) rows *= extent;
      strides.push_back(rows + 1);
      return strides;
    }
    case RowLayout::kBackwards: {
      Dims strides = dense_strides(dims);
      for (std::size_t i = 0; i + 1 < strides.size(); ++i) strides[i] = -strides[i];
      return strides;
    }
  }
  return dense_strides(dims);
}

// Gaps are even: int4.
Dims weight_strides(bool has_experts, std::int64_t experts, std::int64_t k, std::int64_t n,
                    WeightLayout layout) {
  Dims strides;
  switch (layout) {
    case WeightLayout::kRowMajor:
      strides = {k * n, n, 1};
      break;
    case WeightLayout::kTransposed:
      strides = {k * n, 1, k};
      break;
    case WeightLayout::kPadded:
      strides = {k * (n + 6) + 10, n + 6, 1};
      break;
    case WeightLayout::kTransposedPadded:
      strides = {n * (k + 2) + 4, 1, k + 2};
      break;
    case WeightLayout::kInterleaved:
      strides = {n, std::max<std::int64_t>(experts, 1) * n, 1};
      break;
    case WeightLayout::kScattered:
      strides = {k * (2 * n + 3) + 1, 2 * n + 3, 2};
      break;
  }
  if (!has_experts) strides.erase(strides.begin());
  return strides;
}

class Maker {
 public:
  explicit Maker(const FfnCase& c) : case_(c), rng_(c.seed) {
    if (c.tokens) experts_ = std::ssize(*c.tokens);
  }

  template <typename Value>
  GuardedTensor tensor(DType type, const Dims& dims, const Dims& strides, const Value& value) {
    GuardedTensor t(type, dims, strides);
    std::vector<double> values(static_cast<std::size_t>(t.view().elements()));
    for (double& element : values) element = value();
    t.set(values);
    return t;
  }
  /// ([E,] dims).
  Dims of_experts(Dims dims) const {
    if (case_.tokens) dims.insert(dims.begin(), experts_);
    return dims;
  }
  template <typename Value>
  GuardedTensor vector(DType type, const Dims& own, const Value& value) {
    const Dims dims = of_experts(own);
    return tensor(type, dims, vector_strides(dims), value);
  }
  Dims vector_strides(const Dims& dims) const {
    Dims strides = dense_strides(dims);
    if (case_.vectors_strided)
      for (std::int64_t& stride : strides) stride *= 2;
    return strides;
  }
  GuardedTensor weight(std::int64_t k, std::int64_t n, WeightLayout layout) {
    const DType type = case_.row.weight;
    const double size = 1.5 / std::sqrt(static_cast<double>(std::max<std::int64_t>(k, 1)));
    return tensor(type, of_experts({k, n}),
                  weight_strides(case_.tokens.has_value(), experts_, k, n, layout), [&] {
                    return type == DType::kInt8   ? whole(-128, 127)
                           : type == DType::kInt4 ? whole(-8, 7)
                                                  : size * normal();
                  });
  }
  /// What makes the sums of k products with integers of this size about as large as 1.5.
  double deq(std::int64_t k) {
    const double kept = 73.0 * (case_.row.quant() ? 60.0 : 1.0);
    const double of_int4 = case_.row.weight == DType::kInt4 ? 73 / 4.6 : 1.0;
    const double k_root = std::sqrt(static_cast<double>(std::max<std::int64_t>(k, 1)));
    return of_int4 * 1.5 / (kept * k_root) * (0.5 + uniform());
  }
  template <typename Value>
  GuardedTensor antiquant(std::int64_t groups, std::int64_t n, const Value& value) {
    const Dims own = groups == kOneScale    ? Dims{1}
                     : groups == kPerColumn ? Dims{n}
                                            : Dims{groups, n};
    return vector(case_.row.x, own, value);
  }

  double normal() { return std::normal_distribution<double>()(rng_); }
  double uniform() { return std::uniform_real_distribution<double>()(rng_); }
  double whole(int least, int most) {
    return least + static_cast<int>(rng_() % static_cast<unsigned>(most - least + 1));
  }

 private:
  const FfnCase& case_;
  std::mt19937 rng_;
  std::int64_t experts_ = 0;
};

bool is_canary(const GuardedTensor& y, std::int64_t row) {
  const std::int64_t n = y.view().dim(y.view().rank() - 1);
  const auto bits = y.bits();
  return std::all_of(bits.begin() + row * n, bits.begin() + (row + 1) * n,
                     [](std::uint16_t element) { return element == 0xffff; });
}

}  // namespace

const FfnRow& ffn_row(std::string_view name) {
  return *std::ranges::find(kFfnRows, name, [](const FfnRow& row) { return row.name; });
}

Dims FfnCase::x_dims(std::int64_t columns) const {
  Dims dims = leading.empty() ? Dims{m} : leading;
  dims.push_back(columns);
  return dims;
}

std::string FfnCase::text() const {
  return fmt::format(
      "{} ({}) {}x{}:{}x{} {} inner_precise {} gate_is_left {} tokens ({}) {}ends {} biases {}{} "
      "float {} "
      "per channel {} groups {} {} offsets {} layouts x {} y {} weights {} {} strided {} seed {}",
      row.name, fmt::join(leading, ", "), m, k1, k2, n2, to_string(activation),
      static_cast<int>(inner_precise), gate_is_left, fmt::join(tokens.value_or(Dims{}), ", "),
      tokens ? "" : "none, ", tokens_are_ends, bias1, bias2, float_bias, scale_per_channel, groups1,
      groups2, antiquant_offsets, static_cast<int>(x), static_cast<int>(y),
      static_cast<int>(weight1), static_cast<int>(weight2), vectors_strided, seed);
}

FfnData::FfnData(const FfnCase& c) : fields(c) {
  Maker make(c);
  const FfnRow& row = c.row;
  const auto normal = [&] { return make.normal(); };
  const auto bias = [&] { return row.quant() ? make.whole(-3000, 3000) : 0.3 * make.normal(); };
  const auto x_value = [&] { return row.quant() ? make.whole(-128, 127) : make.normal(); };
  const auto deq1 = [&] { return make.deq(c.k1); };
  const auto deq2 = [&] { return make.deq(c.k2); };
  x = make.tensor(row.x, c.x_dims(c.k1), row_strides(c.x_dims(c.k1), c.x), x_value);
  y = GuardedTensor(row.y, c.x_dims(c.n2), row_strides(c.x_dims(c.n2), c.y));
  weight1 = make.weight(c.k1, c.n1(), c.weight1);
  weight2 = make.weight(c.k2, c.n2, c.weight2);
  if (c.tokens) {
    expert_tokens = GuardedTensor(DType::kInt64, {std::ssize(*c.tokens)},
                                  make.vector_strides({std::ssize(*c.tokens)}));
    expert_tokens.set_words(words_of(*c.tokens));
  }
  const DType bias_type = c.float_bias && !row.quant() ? DType::kFloat32 : row.bias;
  if (c.bias1) bias1 = make.vector(bias_type, {c.n1()}, bias);
  if (c.bias2) bias2 = make.vector(bias_type, {c.n2}, bias);
  if (row.quant()) {
    // Most of the range of int8, some beyond it.
    const auto size = [&] { return 30 + 50 * make.uniform(); };
    const bool one = !c.scale_per_channel;
    const Dims per_expert = c.tokens ? Dims{} : Dims{1};
    scale = make.vector(DType::kFloat32, one ? per_expert : Dims{c.k2}, size);
    offset = make.vector(DType::kFloat32, per_expert, [&] { return 10 * make.normal(); });
    deq_scale1 = make.vector(row.deq_scale, {c.n1()}, deq1);
    deq_scale2 = make.vector(row.deq_scale, {c.n2}, deq2);
  }
  if (row.restored()) {
    antiquant_scale1 = make.antiquant(c.groups1, c.n1(), deq1);
    antiquant_scale2 = make.antiquant(c.groups2, c.n2, deq2);
  }
  if (row.restored() && c.antiquant_offsets) {
    antiquant_offset1 = make.antiquant(c.groups1, c.n1(), normal);
    antiquant_offset2 = make.antiquant(c.groups2, c.n2, normal);
  }
}

FfnArgs FfnData::args() const {
  FfnArgs a;
  a.x = x.view(), a.weight1 = weight1.view(), a.weight2 = weight2.view();
  a.expert_tokens = expert_tokens.view();
  a.tokens_are_ends = fields.tokens_are_ends;
  a.bias1 = bias1.view(), a.bias2 = bias2.view();
  a.scale = scale.view(), a.offset = offset.view();
  a.deq_scale1 = deq_scale1.view(), a.deq_scale2 = deq_scale2.view();
  a.antiquant_scale1 = antiquant_scale1.view(), a.antiquant_scale2 = antiquant_scale2.view();
  a.antiquant_offset1 = antiquant_offset1.view(), a.antiquant_offset2 = antiquant_offset2.view();
  a.activation = fields.activation, a.inner_precise = fields.inner_precise;
  a.y = y.writable();
  return a;
}

std::vector<std::uint16_t> FfnData::bits_of_row(std::int64_t row) const {
  const auto all = bits();
  return {all.begin() + row * fields.n2, all.begin() + (row + 1) * fields.n2};
}

bool FfnData::guards_intact() const {
  const auto inputs = {&x,
                       &weight1,
                       &weight2,
                       &expert_tokens,
                       &bias1,
                       &bias2,
                       &scale,
                       &offset,
                       &deq_scale1,
                       &deq_scale2,
                       &antiquant_scale1,
                       &antiquant_scale2,
                       &antiquant_offset1,
                       &antiquant_offset2};
  return y.guards_intact() &&
         std::ranges::all_of(inputs, [](const GuardedTensor* t) { return t->unchanged(); });
}

std::vector<std::uint64_t> words_of(const Dims& tokens) { return {tokens.begin(), tokens.end()}; }

void expect_correct(const FfnData& data, double multiplies) {
  const FfnCase& c = data.fields;
  SCOPED_TRACE(c.text());
  const FfnArgs args = data.args();
  const auto per_row = static_cast<double>(c.k1 * c.n1() + c.k2 * c.n2);
  const auto m = ops::shape_of(args).m;
  const auto step = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(m) * per_row / multiplies));
  for (std::int64_t row = c.seed % step; row < m; row += step) {
    const ops::RowError error = ops::check_row(args, data.options(), row);
    ASSERT_LE(error.worst, 1) << error.where << ", row " << row << " of expert "
                              << ops::expert_of_row(args, row);
  }
  for (std::int64_t row = m - 1; row >= 0 && ops::expert_of_row(args, row) < 0; --row)
    ASSERT_TRUE(is_canary(data.y, row)) << "row " << row << " of no expert was written";
  EXPECT_TRUE(data.guards_intact());
}

void run_and_expect_correct(const FfnCase& c, int threads, double multiplies) {
  const FfnData data(c);
  const Status status = ffn(context_of(threads), data.args(), data.options());
  ASSERT_TRUE(status.ok()) << status.to_string() << "\n" << c.text();
  expect_correct(data, multiplies);
}

Context& context_of(int threads, const std::string& isa) {
  static std::map<std::pair<int, std::string>, Context> contexts;
  const auto key = std::pair(threads, isa);
  const auto known = contexts.find(key);
  if (known != contexts.end()) return known->second;
  return contexts.emplace(key, used_context({.threads = threads, .isa = isa}, 2 << 20))
      .first->second;
}

}  // namespace weft::testing
