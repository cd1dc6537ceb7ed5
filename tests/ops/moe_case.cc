// SPDX-License-Identifier: Apache-2.0
#include "moe_case.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <numeric>

#include "ops/moe_dispatch/reference.h"
#include "ops/moe_reference.h"

namespace weft::testing {
namespace {

namespace reference = ops::moe_reference;

std::int64_t below(std::mt19937& rng, std::int64_t n) {
  return static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(n));
}
bool one_in(std::mt19937& rng, std::int64_t n) { return below(rng, n) == 0; }

/// Tensors whose rows have adjacent elements: gaps between rows, or the last row first.
GuardedTensor rows_of(DType type, const Dims& dims, bool strided, std::mt19937& rng) {
  const std::int64_t gap = strided ? 1 + below(rng, 5) : 0;
  Dims strides = padded_strides(dims, gap, gap);
  if (strided && dims.size() == 2 && one_in(rng, 2)) strides[0] = -strides[0];
  return {type, dims, strides};
}
/// Matrices and vectors of which any axis may be strided.
GuardedTensor any_of(DType type, const Dims& dims, bool strided) {
  if (!strided) return {type, dims, padded_strides(dims, 0, 0)};
  return dims.size() == 1 ? GuardedTensor(type, dims, {3})
                          : GuardedTensor(type, dims, {2, 2 * dims[0] + 1});
}
GuardedTensor dense(DType type, const Dims& dims) {
  return {type, dims, padded_strides(dims, 0, 0)};
}

void fill(GuardedTensor& t, const auto& make) {
  std::vector<double> values(static_cast<std::size_t>(t.view().elements()));
  for (double& value : values) value = make();
  t.set(values);
}

/// Numbers of which sums and products come out different in another order or with fewer roundings.
double number(std::mt19937& rng, double special = 0) {
  if (special > 0 && std::uniform_real_distribution<>()(rng) < special) {
    constexpr double kSpecial[] = {NAN, INFINITY, -INFINITY, 65000, -65000, 3e38, 1e-41};
    return kSpecial[below(rng, 7)];
  }
  if (one_in(rng, 12)) return one_in(rng, 2) ? 0.0 : -0.0;
  return std::ldexp(std::normal_distribution<>()(rng), static_cast<int>(below(rng, 9)) - 4);
}

void fill_numbers(GuardedTensor& t, std::mt19937& rng, double special = 0) {
  fill(t, [&] { return number(rng, special); });
}

/// Dims of a tensor of tokens in the combine.
Dims token_dims(const MoeCase& c, std::int64_t tokens, std::int64_t h) {
  if (!c.three_axes) return {tokens, h};
  return tokens % 2 ? Dims{tokens, 1, h} : Dims{2, tokens / 2, h};
}

}  // namespace

std::int64_t MoeCase::tokens_of(int rank, int tp_rank) const {
  return tokens[static_cast<std::size_t>(tp_rank * ranks + rank) % tokens.size()];
}

std::string MoeCase::text() const {
  const MoeExperts& e = experts;
  return fmt::format(
      "ranks {}{} {} {}{} tokens {} h {} k {} experts {} shared {} on {}{} special {} {} {} mask "
      "{} "
      "ids {}{}{}{}{}{}{}{} slack {} special values {} seed {}",
      ranks, tp ? " tp" : "", to_string(type), int8_rows ? "int8 rows" : "",
      scales ? " scales" : "", fmt::join(tokens, ","), h, k, e.moe_expert_num, e.shared_expert_num,
      e.shared_expert_rank_num, e.shared_tokens == SharedTokens::kBySlice ? " by slice" : "",
      e.zero_expert_num, e.copy_expert_num, e.const_expert_num, static_cast<int>(mask),
      static_cast<int>(ids), tokens_are_ends ? " ends" : "",
      shared_expert_x ? " shared_expert_x" : "", int8_communication ? " int8 communication" : "",
      alpha_per_column ? " alpha per column" : "", three_axes ? " three axes" : "",
      in_place ? " in place" : "", strided ? " strided" : "", slack, special_values, seed);
}

MoeCase random_case(std::mt19937& rng) {
  MoeCase c;
  constexpr int kRanks[] = {1, 2, 2, 3, 3, 5, 8};
  c.ranks = kRanks[below(rng, 7)];
  c.tp = one_in(rng, 6);
  MoeExperts& e = c.experts;
  if (c.ranks > 1 && one_in(rng, 3)) {
    e.shared_expert_num = 1 + below(rng, std::min(c.ranks - 1, 2));
    e.shared_expert_rank_num =
        e.shared_expert_num * (1 + below(rng, (c.ranks - 1) / e.shared_expert_num));
    if (e.shared_expert_num == 1 && one_in(rng, 2)) e.shared_tokens = SharedTokens::kBySlice;
  }
  const std::int64_t hosts = c.ranks - e.shared_expert_rank_num;
  e.moe_expert_num = c.tp ? hosts : one_in(rng, 3) ? 1 + below(rng, 3 * hosts) : 2 * hosts;
  if (one_in(rng, 3)) {
    e.zero_expert_num = below(rng, 3);
    e.copy_expert_num = below(rng, 3);
    e.const_expert_num = below(rng, 3);
  }
  const std::int64_t ids =
      e.moe_expert_num + e.zero_expert_num + e.copy_expert_num + e.const_expert_num;
  c.k = 1 + below(rng, std::min<std::int64_t>(ids, 6));
  c.h = one_in(rng, 3) ? 1 + below(rng, 9) : 1 + below(rng, 80);
  c.tokens.clear();
  for (int i = 0; i < c.ranks * c.halves(); ++i)
    c.tokens.push_back(one_in(rng, 6) ? 0 : 1 + below(rng, 9));
  c.type = one_in(rng, 2) ? DType::kFloat16 : DType::kBFloat16;
  c.int8_rows = one_in(rng, 3);
  c.scales = c.int8_rows && one_in(rng, 2);
  c.mask = static_cast<MaskForm>(below(rng, 3));
  c.ids = one_in(rng, 2) ? Ids::kDistinct : one_in(rng, 2) ? Ids::kOneExpert : Ids::kAnything;
  c.tokens_are_ends = one_in(rng, 2);
  c.shared_expert_x = e.shared_expert_rank_num == 0 && one_in(rng, 2);
  c.int8_communication = !c.tp && one_in(rng, 4);
  c.alpha_per_column = one_in(rng, 2);
  c.three_axes = one_in(rng, 2);
  c.in_place = one_in(rng, 3);
  c.strided = one_in(rng, 2);
  c.slack = below(rng, 4);
  c.special_values = one_in(rng, 8) ? 0.01 : 0;
  c.seed = static_cast<unsigned>(rng());
  return c;
}

MoeData::MoeData(const MoeCase& c)
    : fields(c), ranks_(static_cast<std::size_t>(c.ranks * c.halves())) {
  std::mt19937 rng(c.seed);
  for (int q = 0; q < c.halves(); ++q)
    for (int r = 0; r < c.ranks; ++r) {
      const std::int64_t tokens = c.tokens_of(r, q);
      make_tokens(at(r, q), tokens, rng);
      make_ids(at(r, q), tokens, rng);
      const auto place = static_cast<std::size_t>(q * c.ranks + r);
      const auto replace = [&](GuardedTensor& t, const std::vector<Dims>& given) {
        if (!given.empty()) t.set({given[place].begin(), given[place].end()});
      };
      replace(at(r, q).expert_ids, c.given_ids);
      replace(at(r, q).mask, c.given_masks);
      make_combined(at(r, q), tokens, rng);
    }
  for (int q = 0; q < c.halves(); ++q)  // how many there are follows from everyone's ids
    for (int r = 0; r < c.ranks; ++r) make_rows(r, q, rng);
}

void MoeData::make_tokens(MoeRank& rank, std::int64_t tokens, std::mt19937& rng) {
  const MoeCase& c = fields;
  rank.x = rows_of(c.type, {tokens, c.h}, c.strided, rng);
  if (c.int8_rows) {
    double scale = 1;
    std::int64_t element = 0;
    fill(rank.x, [&] {
      if (element++ % c.h == 0) {
        constexpr double kScales[] = {1, 1, 1, 0x1p-9, 0x1p11, 0, 1e-39};
        scale = kScales[below(rng, 7)];
      }
      return scale * number(rng, c.special_values);
    });
  } else {  // any bits, signalling nans among them
    std::vector<std::uint64_t> words(static_cast<std::size_t>(tokens * c.h));
    for (std::uint64_t& word : words) word = rng();
    rank.x.set_words(words);
  }
  if (!c.scales) return;
  const std::int64_t experts = c.experts.shared_expert_num + c.experts.moe_expert_num;
  rank.scales = rows_of(DType::kFloat32, {experts, c.h}, c.strided, rng);
  fill_numbers(rank.scales, rng, c.special_values);
}

void MoeData::make_ids(MoeRank& rank, std::int64_t tokens, std::mt19937& rng) {
  const MoeCase& c = fields;
  const MoeExperts& e = c.experts;
  const std::int64_t all =
      e.moe_expert_num + e.zero_expert_num + e.copy_expert_num + e.const_expert_num;
  std::vector<double> ids;
  for (std::int64_t t = 0; t < tokens; ++t) {
    Dims order(static_cast<std::size_t>(all));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin() + (c.ids == Ids::kOneExpert), order.end(), rng);
    order.resize(static_cast<std::size_t>(c.k));
    if (c.ids == Ids::kAnything)
      for (std::int64_t& id : order) {
        if (one_in(rng, 3)) id = below(rng, e.moe_expert_num);
        if (one_in(rng, 6)) id = one_in(rng, 2) ? -1 - below(rng, 3) : all + below(rng, 3);
        if (one_in(rng, 60)) id = one_in(rng, 2) ? INT_MAX : INT_MIN;
      }
    ids.insert(ids.end(), order.begin(), order.end());
  }
  rank.expert_ids = any_of(DType::kInt32, {tokens, c.k}, c.strided);
  rank.expert_ids.set(ids);
  if (c.mask == MaskForm::kNone) return;
  const bool per_token = c.mask == MaskForm::kTokens;
  rank.mask = any_of(DType::kBool, per_token ? Dims{tokens} : Dims{tokens, c.k}, c.strided);
  fill(rank.mask, [&] { return one_in(rng, 3) ? 0 : 1; });
}

void MoeData::make_rows(int r, int q, std::mt19937& rng) {
  const MoeCase& c = fields;
  MoeRank& rank = at(r, q);
  const std::int64_t rows = this->rows(r, q), capacity = rows + c.slack;
  const DType type = c.int8_rows ? DType::kInt8 : c.type;
  rank.expand_x =
      c.tp ? dense(type, {capacity, c.h}) : rows_of(type, {capacity, c.h}, c.strided, rng);
  if (c.int8_rows || one_in(rng, 2)) rank.dynamic_scales = dense(DType::kFloat32, {capacity});
  rank.assist = dense(DType::kInt32, {3 * capacity + 2});
  const std::int64_t local = reference::local_experts(c.experts, r, c.ranks);
  rank.token_nums = dense(DType::kInt64, {local});
  rank.ep_counts = dense(DType::kInt32, {c.ranks * local * c.halves() + 1});
  if (c.tp) rank.tp_counts = dense(DType::kInt32, {2});

  rank.returned =
      c.tp ? dense(c.type, {capacity, c.h}) : rows_of(c.type, {capacity, c.h}, c.strided, rng);
  std::int64_t element = 0;
  fill(rank.returned,
       [&] { return element++ < rows * c.h ? number(rng, c.special_values) : std::nan(""); });
}

void MoeData::make_combined(MoeRank& rank, std::int64_t tokens, std::mt19937& rng) {
  const MoeCase& c = fields;
  const MoeExperts& e = c.experts;
  const auto token_rows = [&](std::int64_t h) {
    return rows_of(c.type, token_dims(c, tokens, h), c.strided, rng);
  };
  rank.expert_scales = any_of(DType::kFloat32, {tokens, c.k}, c.strided);
  fill_numbers(rank.expert_scales, rng);
  if (c.shared_expert_x) {
    rank.shared_x = token_rows(c.h);
    fill_numbers(rank.shared_x, rng);
  }
  if (e.copy_expert_num + e.const_expert_num > 0) {
    rank.ori_x = rows_of(c.type, {tokens, c.h}, c.strided, rng);
    fill_numbers(rank.ori_x, rng, c.special_values);
  }
  if (e.const_expert_num > 0) {
    const Dims alpha =
        c.alpha_per_column ? Dims{e.const_expert_num, c.h} : Dims{e.const_expert_num};
    rank.alpha_1 = dense(c.type, alpha);
    rank.alpha_2 = dense(c.type, alpha);
    rank.v = rows_of(c.type, {e.const_expert_num, c.h}, c.strided, rng);
    for (GuardedTensor* t : {&rank.alpha_1, &rank.alpha_2, &rank.v}) fill_numbers(*t, rng);
  }
  rank.combined = token_rows(c.h);
  if (c.in_place) {
    fill_numbers(rank.combined, rng);
  } else {
    rank.residual = token_rows(c.h);
    fill_numbers(rank.residual, rng);
  }
  rank.gamma = any_of(c.type, {c.h}, c.strided);
  fill_numbers(rank.gamma, rng);
  rank.y = token_rows(c.h);
  rank.rstd = dense(DType::kFloat32, c.three_axes ? token_dims(c, tokens, 1) : Dims{tokens});
}

MoeDispatchArgs MoeData::dispatch(int r, int q) const {
  const MoeRank& rank = at(r, q);
  return {.x = rank.x.view(),
          .expert_ids = rank.expert_ids.view(),
          .scales = rank.scales.view(),
          .x_active_mask = rank.mask.view(),
          .experts = fields.experts,
          .tokens_are_ends = fields.tokens_are_ends,
          .expand_x = rank.expand_x.writable(),
          .dynamic_scales = rank.dynamic_scales.writable(),
          .assist_info_for_combine = rank.assist.writable(),
          .expert_token_nums = rank.token_nums.writable(),
          .ep_recv_counts = rank.ep_counts.writable(),
          .tp_recv_counts = rank.tp_counts.writable()};
}

MoeCombineArgs MoeData::combine(int r, int q) const {
  const MoeRank& rank = at(r, q);
  return {.expand_x = rank.returned.view(),
          .expert_ids = rank.expert_ids.view(),
          .assist_info_for_combine = rank.assist.view(),
          .ep_send_counts = rank.ep_counts.view(),
          .expert_scales = rank.expert_scales.view(),
          .tp_send_counts = rank.tp_counts.view(),
          .x_active_mask = rank.mask.view(),
          .shared_expert_x = rank.shared_x.view(),
          .ori_x = rank.ori_x.view(),
          .const_expert_alpha_1 = rank.alpha_1.view(),
          .const_expert_alpha_2 = rank.alpha_2.view(),
          .const_expert_v = rank.v.view(),
          .experts = fields.experts,
          .int8_communication = fields.int8_communication,
          .x = rank.combined.writable()};
}

MoeCombineAddRmsNormArgs MoeData::norm(int r, int q) const {
  const MoeRank& rank = at(r, q);
  return {.combine = combine(r, q),
          .residual_x = fields.in_place ? rank.combined.view() : rank.residual.view(),
          .gamma = rank.gamma.view(),
          .y = rank.y.writable(),
          .rstd = rank.rstd.writable()};
}

std::vector<MoeDispatchArgs> MoeData::dispatches(int q) const {
  std::vector<MoeDispatchArgs> all;
  for (int r = 0; r < fields.ranks && q < fields.halves(); ++r) all.push_back(dispatch(r, q));
  return all;
}
std::vector<MoeCombineArgs> MoeData::combines(int q) const {
  std::vector<MoeCombineArgs> all;
  for (int r = 0; r < fields.ranks && q < fields.halves(); ++r) all.push_back(combine(r, q));
  return all;
}
std::vector<MoeCombineAddRmsNormArgs> MoeData::norms(int q) const {
  std::vector<MoeCombineAddRmsNormArgs> all;
  for (int r = 0; r < fields.ranks && q < fields.halves(); ++r) {
    all.push_back(norm(r, q));
    if (fields.in_place) all.back().residual_x = at(r, q).combined.original();
  }
  return all;
}

std::int64_t MoeData::rows(int r, int q) const {
  std::int64_t rows = 0;
  for (int half = 0; half < fields.halves(); ++half)
    rows += ops::reference_rows(dispatches((q + half) % 2), r);
  return rows;
}

}  // namespace weft::testing
