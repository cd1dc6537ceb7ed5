// SPDX-License-Identifier: Apache-2.0
#include "moe_routing_case.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "ops/moe_finalize_routing/reference.h"
#include "ops/moe_gating_topk_softmax/reference.h"
#include "ops/moe_init_routing/reference.h"
#include "used_context.h"

namespace weft::testing {
namespace {

constexpr DType kI32 = DType::kInt32;
constexpr std::int64_t kExperts = 8;

std::int64_t product(const Dims& dims) {
  return std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>());
}

}  // namespace

Context& context_of(int threads) {
  static std::map<int, Context> contexts;
  const auto known = contexts.find(threads);
  if (known != contexts.end()) return known->second;
  return contexts.emplace(threads, used_context({.threads = threads})).first->second;
}

unsigned seed_of_this_run() {
  return static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
}

Dims dense_strides(const Dims& dims) {
  const ConstTensorRef shape(nullptr, kI32, dims);
  return {shape.strides().begin(), shape.strides().end()};
}

Dims Random::input_strides(const Dims& dims) {
  std::vector<std::size_t> order(dims.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::int64_t kind = below(5);
  if (kind == 1) std::shuffle(order.begin(), order.end(), rng_);
  Dims strides(dims.size());
  std::int64_t stride = kind == 2 ? 2 : 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= std::max<std::int64_t>(dims[order[i]], 1);
    if (kind == 3) stride += below(3);
  }
  if (kind == 4) strides[0] = one_in(2) ? -strides[0] : 0;
  return strides;
}

Dims Random::output_strides(const Dims& dims) {
  Dims strides = dense_strides(dims);
  if (dims.size() > 1 && one_in(2)) {
    const std::int64_t gap = 1 + below(5);
    for (std::size_t i = 0; i + 1 < dims.size(); ++i) strides[i] += gap * strides[i];
  }
  return strides;
}

std::vector<double> Random::numbers(std::int64_t count, double deviation, bool special) {
  std::vector<double> values(static_cast<std::size_t>(count));
  for (double& value : values) {
    value = normal(deviation);
    if (!special || !one_in(40)) continue;
    constexpr double kSpecial[] = {0, -0.0, NAN, INFINITY, -INFINITY, 60000, 1e-7};
    value = kSpecial[below(7)];
  }
  return values;
}

GuardedTensor tensor_of(DType type, const Dims& dims, const Dims& strides,
                        const std::vector<double>& values) {
  GuardedTensor tensor(type, dims, strides);
  tensor.set(values);
  return tensor;
}

template <typename Args>
std::vector<double> RoutingData<Args>::results() const {
  std::vector<double> all;
  for (const GuardedTensor* tensor : outputs())
    for (double value : tensor->values()) all.push_back(std::isnan(value) ? 1e300 : value);
  return all;
}
template class RoutingData<MoeGatingTopkSoftmaxArgs>;
template class RoutingData<MoeInitRoutingArgs>;
template class RoutingData<MoeFinalizeRoutingArgs>;

// --- gating ---

std::string GatingCase::text() const {
  return fmt::format("{} ({}) x {} experts, k {}, finished {}, strided {}, special {}, seed {}",
                     to_string(type), fmt::join(tokens, ", "), experts, k, finished, strided,
                     special, seed);
}

GatingData::GatingData(const GatingCase& c) : case_(c) {
  Random random(c.seed);
  Dims x = c.tokens, k = c.tokens;
  x.push_back(c.experts);
  k.push_back(c.k);
  const auto in = [&](const Dims& d) {
    return c.strided ? random.input_strides(d) : dense_strides(d);
  };
  const auto out = [&](const Dims& d) {
    return c.strided ? random.output_strides(d) : dense_strides(d);
  };
  x_ = tensor_of(c.type, x, in(x), random.numbers(product(x), c.deviation, c.special));
  if (c.finished) {
    std::vector<double> done(static_cast<std::size_t>(product(c.tokens)));
    for (double& d : done) d = random.one_in(2) ? 1 : 0;
    finished_ = tensor_of(DType::kBool, c.tokens, in(c.tokens), done);
  }
  y_ = GuardedTensor(c.type, k, out(k));
  expert_idx_ = GuardedTensor(kI32, k, out(k));
  row_idx_ = GuardedTensor(kI32, k, out(k));
}

MoeGatingTopkSoftmaxArgs GatingData::args() const {
  MoeGatingTopkSoftmaxArgs a;
  a.x = x_.view();
  a.finished = finished_.view();
  a.k = case_.k;
  a.y = y_.writable();
  a.expert_idx = expert_idx_.writable();
  a.row_idx = row_idx_.writable();
  return a;
}

void GatingData::expect_correct() const {
  SCOPED_TRACE(case_.text());
  const MoeGatingTopkSoftmaxArgs a = args();
  for (std::int64_t row = 0; row < product(case_.tokens) && case_.k > 0; ++row) {
    const ops::RowError error = ops::check_row(a, row);
    ASSERT_LE(error.worst, 1) << error.where << ", row " << row;
  }
  expect_inputs_unchanged();
}

// --- init ---

std::string InitCase::text() const {
  return fmt::format("{} ({}, {}), k {}, active {}, ids {}, strided {}, shuffled {}, seed {}",
                     to_string(type), n, h, k, active_num, static_cast<int>(ids), strided, shuffled,
                     seed);
}

InitData::InitData(const InitCase& c) : case_(c) {
  Random random(c.seed);
  const auto in = [&](const Dims& d) {
    return c.strided ? random.input_strides(d) : dense_strides(d);
  };
  // A row_idx that is a permutation can't have numbers at the same place.
  const Dims pairs = {c.n, c.k}, x = {c.n, c.h};
  Dims row_strides = dense_strides(pairs);
  if (c.strided) row_strides = random.one_in(2) ? Dims{1, c.n + 1} : Dims{-(c.k + 3), 1};
  x_ = tensor_of(c.type, x, in(x), random.numbers(product(x), 1, true));
  std::vector<double> rows, ids;
  for (std::int64_t i = 0; i < c.n; ++i)
    for (std::int64_t j = 0; j < c.k; ++j) {
      rows.push_back(static_cast<double>(j * c.n + i));
      const auto any = static_cast<double>(static_cast<std::int32_t>(random.engine()()));
      ids.push_back(c.ids == Ids::kAny
                        ? any
                        : static_cast<double>(random.below(c.ids == Ids::kFew ? 8 : 10000)));
    }
  if (c.shuffled) std::shuffle(rows.begin(), rows.end(), random.engine());
  row_idx_ = tensor_of(kI32, pairs, row_strides, rows);
  ids_ = tensor_of(kI32, pairs, in(pairs), ids);
  const Dims out = {std::min(c.active_num, c.n) * c.k, c.h}, flat = {c.n * c.k};
  out_x_ = GuardedTensor(c.type, out, c.strided ? random.output_strides(out) : dense_strides(out));
  out_row_ = GuardedTensor(kI32, flat, {1});
  out_id_ = GuardedTensor(kI32, flat, {1});
}

MoeInitRoutingArgs InitData::args() const {
  MoeInitRoutingArgs a;
  a.x = x_.view();
  a.row_idx = row_idx_.view();
  a.expert_idx = ids_.view();
  a.active_num = case_.active_num;
  a.expanded_x = out_x_.writable();
  a.expanded_row_idx = out_row_.writable();
  a.expanded_expert_idx = out_id_.writable();
  return a;
}

void InitData::expect_correct() const {
  SCOPED_TRACE(case_.text());
  const ops::RowError error = ops::check_all(args());
  ASSERT_EQ(error.worst, 0) << error.where;
  expect_inputs_unchanged();
}

// --- finalize ---

std::string FinalizeCase::text() const {
  return fmt::format(
      "{} ({}, {}), k {}, x1 {}, x2 {}, bias {}, scales {}, padded {}, float scales {}, in place "
      "{}, strided {}, special {}, order {}, seed {}",
      to_string(type), n, h, k, x1, x2, bias, scales, padded, float_scales, in_place, strided,
      special, static_cast<int>(order), seed);
}

FinalizeData::FinalizeData(const FinalizeCase& c) : case_(c) {
  Random random(c.seed);
  const auto in = [&](const Dims& d) {
    return c.strided ? random.input_strides(d) : dense_strides(d);
  };
  const auto numbers = [&](DType type, const Dims& dims, const Dims& strides) {
    return tensor_of(type, dims, strides, random.numbers(product(dims), 1, c.special));
  };
  const std::int64_t capacity = std::max<std::int64_t>(c.n * c.k / kExperts, 1);
  const Dims token = {c.n, c.h}, pairs = {c.n, c.k}, bias = {kExperts, c.h};
  const Dims expanded = c.padded ? Dims{kExperts, capacity, c.h} : Dims{c.n * c.k, c.h};
  const Dims out = c.strided ? random.output_strides(token) : dense_strides(token);
  expanded_x_ = numbers(c.type, expanded, in(expanded));
  if (c.x1) x1_ = numbers(c.type, token, c.in_place ? out : in(token));
  if (c.x2) x2_ = numbers(c.type, token, in(token));
  if (c.bias) bias_ = numbers(c.type, bias, in(bias));
  if (c.scales) {
    const DType type = c.float_scales ? DType::kFloat32 : c.type;
    scales_ = numbers(type, pairs, in(pairs));
  }
  std::vector<double> rows(static_cast<std::size_t>(c.n * c.k)), ids(rows.size());
  std::iota(rows.begin(), rows.end(), 0.0);
  std::shuffle(rows.begin(), rows.end(), random.engine());
  for (std::size_t f = 0; f < rows.size(); ++f) {
    ids[f] = static_cast<double>(random.below(kExperts));
    if (!c.padded) continue;
    rows[f] = random.one_in(3) ? -1 : static_cast<double>(random.below(kExperts * capacity));
  }
  row_idx_ = tensor_of(kI32, {c.n * c.k}, {c.strided && random.one_in(2) ? 3 : 1}, rows);
  if (c.bias || random.one_in(2)) ids_ = tensor_of(kI32, pairs, in(pairs), ids);
  if (!c.in_place) out_ = GuardedTensor(c.type, token, out);
}

std::vector<const GuardedTensor*> FinalizeData::inputs() const {
  std::vector<const GuardedTensor*> tensors = {&expanded_x_, &row_idx_, &x2_,
                                               &bias_,       &scales_,  &ids_};
  if (!case_.in_place) tensors.push_back(&x1_);
  return tensors;
}

MoeFinalizeRoutingArgs FinalizeData::args() const {
  MoeFinalizeRoutingArgs a;
  a.expanded_x = expanded_x_.view();
  a.expanded_row_idx = row_idx_.view();
  a.x1 = x1_.view();
  a.x2 = x2_.view();
  a.bias = bias_.view();
  a.scales = scales_.view();
  a.expert_idx = ids_.view();
  a.order = case_.order;
  a.out = case_.in_place ? x1_.writable() : out_.writable();
  return a;
}

void FinalizeData::expect_correct() const {
  SCOPED_TRACE(case_.text());
  MoeFinalizeRoutingArgs a = args();
  a.x1 = x1_.original();
  for (std::int64_t row = 0; row < case_.n; ++row)
    ASSERT_EQ(ops::check_row(a, row).worst, 0) << "row " << row;
  expect_inputs_unchanged();
}

}  // namespace weft::testing
