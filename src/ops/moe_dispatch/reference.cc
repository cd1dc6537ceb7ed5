// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_dispatch/reference.h"

#include <algorithm>
#include <cmath>

#include "ops/moe_reference.h"

namespace weft::ops {
namespace {

using namespace moe_reference;

constexpr double kWrong = HUGE_VAL;

const MoeDispatchArgs& at(std::span<const MoeDispatchArgs> ranks, std::int64_t rank) {
  return ranks[static_cast<std::size_t>(rank)];
}

std::vector<Activity> activities(std::span<const MoeDispatchArgs> ranks) {
  std::vector<Activity> all;
  for (const MoeDispatchArgs& args : ranks) all.emplace_back(args.x_active_mask, args.expert_ids);
  return all;
}

void add_shared_block(MoeRoute& route, const MoeDispatchArgs& from, const Activity& active,
                      std::int64_t source, int rank) {
  const MoeExperts& experts = from.experts;
  const std::int64_t tokens = from.x.dim(0), k = from.expert_ids.dim(1);
  const std::int64_t shared = rank / (experts.shared_expert_rank_num / experts.shared_expert_num);
  for (std::int64_t t = 0; t < tokens; ++t)
    if (active.token(t) && goes_to_shared(experts, source, t, tokens, rank))
      route.rows.push_back({source, t, k + shared, shared});
}

void add_routed_block(MoeRoute& route, const MoeDispatchArgs& from, const Activity& active,
                      std::int64_t source, std::int64_t expert) {
  for (std::int64_t t = 0; t < from.expert_ids.dim(0); ++t)
    for (std::int64_t k = 0; k < from.expert_ids.dim(1); ++k)
      if (active.entry(t, k) && integer_at(from.expert_ids, t, k) == expert)
        route.rows.push_back({source, t, k, from.experts.shared_expert_num + expert});
}

/// What expand_x and dynamic_scales have to be for one token.
struct Quantised {
  std::vector<int> values;
  float scale;
};

int to_int8(float value) {
  if (std::isnan(value)) return 0;
  return static_cast<int>(std::clamp(std::nearbyint(value), -127.0f, 127.0f));
}

Quantised quantise(const MoeDispatchArgs& from, const MoeRow& row) {
  const std::int64_t h = from.x.dim(1);
  std::vector<float> v;
  float largest = 0;
  for (std::int64_t i = 0; i < h; ++i) {
    v.push_back(float_at(from.x, row.token * from.x.stride(0) + i));
    if (from.scales.given())
      v.back() = fp32(static_cast<double>(v.back()) *
                      element_value(from.scales, row.scale * from.scales.stride(0) + i));
    if (std::fabs(v.back()) > largest) largest = std::fabs(v.back());  // not of nan
  }
  const float d = largest == 0 ? HUGE_VALF : fp32(127.0 / static_cast<double>(largest));
  Quantised result{std::vector<int>(v.size(), 0), 0};
  if (std::isinf(d)) return result;
  if (std::isinf(largest)) {  // d is 0: what is finite gives 0
    for (std::size_t i = 0; i < v.size(); ++i)
      if (std::isinf(v[i])) result.values[i] = v[i] > 0 ? 127 : -127;
    result.scale = HUGE_VALF;
    return result;
  }
  for (std::size_t i = 0; i < v.size(); ++i)
    result.values[i] = to_int8(fp32(static_cast<double>(v[i]) * static_cast<double>(d)));
  result.scale = fp32(1.0 / static_cast<double>(d));
  return result;
}

void check_payload(const MoeDispatchArgs& to, std::int64_t place, const MoeDispatchArgs& from,
                   const MoeRow& row, RowError& error) {
  const ConstTensorRef expand_x = to.expand_x;
  const std::int64_t begin = place * expand_x.stride(0);
  if (expand_x.dtype() != DType::kInt8) {
    for (std::int64_t i = 0; i < from.x.dim(1); ++i)
      if (bits_at(expand_x, begin + i) != bits_at(from.x, row.token * from.x.stride(0) + i))
        error.add(kWrong, "expand_x");
    return;
  }
  const Quantised want = quantise(from, row);
  for (std::size_t i = 0; i < want.values.size(); ++i)
    error.add(
        difference(element_value(expand_x, begin + static_cast<std::int64_t>(i)), want.values[i]),
        "expand_x");
  error.add(difference(element_value(to.dynamic_scales, place), want.scale), "dynamic_scales");
}

void check_own_row(std::span<const MoeDispatchArgs> ranks, int rank, const MoeRoute& route,
                   std::int64_t place, RowError& error) {
  const MoeDispatchArgs& to = at(ranks, rank);
  const MoeRow& row = route.rows[static_cast<std::size_t>(place)];
  check_payload(to, place, at(ranks, row.source), row, error);
  if (!to.assist_info_for_combine.given()) return;
  const std::int64_t triple[] = {row.source, row.token, row.slot};
  for (std::int64_t i = 0; i < 3; ++i)
    if (integer_at(to.assist_info_for_combine, 3 * place + i) != triple[i])
      error.add(kWrong, "assist_info_for_combine");
}

void check_pair_row(const MoeDispatchArgs& to, std::int64_t place,
                    std::span<const MoeDispatchArgs> pair, const MoeRow& row, RowError& error) {
  check_payload(to, place, at(pair, row.source), row, error);
}

std::int64_t size_of(const MoeRoute& route) { return std::ssize(route.rows); }

}  // namespace

MoeRoute reference_route(std::span<const MoeDispatchArgs> ranks, int rank) {
  const MoeExperts& experts = at(ranks, rank).experts;
  const std::vector<Activity> active = activities(ranks);
  const auto count = static_cast<std::int64_t>(ranks.size());
  const std::int64_t shared = experts.shared_expert_rank_num;
  MoeRoute route;
  const auto end_block = [&] { route.ends.push_back(size_of(route)); };
  if (rank < shared) {
    for (std::int64_t s = 0; s < count; ++s, end_block())
      add_shared_block(route, at(ranks, s), active[static_cast<std::size_t>(s)], s, rank);
    return route;
  }
  const std::int64_t first = first_expert(experts, rank - shared, count - shared);
  for (std::int64_t i = 0; i < local_experts(experts, rank, count); ++i)
    for (std::int64_t s = 0; s < count; ++s, end_block())
      add_routed_block(route, at(ranks, s), active[static_cast<std::size_t>(s)], s, first + i);
  return route;
}

std::int64_t reference_rows(std::span<const MoeDispatchArgs> ranks, int rank) {
  return size_of(reference_route(ranks, rank));
}

RowError check_row(std::span<const MoeDispatchArgs> ranks, int rank, std::int64_t row,
                   std::span<const MoeDispatchArgs> pair) {
  RowError error;
  const MoeRoute route = reference_route(ranks, rank);
  if (row < size_of(route)) {
    check_own_row(ranks, rank, route, row, error);
  } else if (!pair.empty()) {
    const MoeRoute other = reference_route(pair, rank);
    const std::int64_t index = row - size_of(route);
    if (index < size_of(other))
      check_pair_row(at(ranks, rank), row, pair, other.rows[static_cast<std::size_t>(index)],
                     error);
  }
  return error;
}

RowError check_row(std::span<const MoeDispatchArgs> ranks, int rank, const MoeRoute& route,
                   std::int64_t row) {
  RowError error;
  if (row < size_of(route)) check_own_row(ranks, rank, route, row, error);
  return error;
}

RowError check_rows(std::span<const MoeDispatchArgs> ranks, int rank,
                    std::span<const MoeDispatchArgs> pair) {
  RowError error;
  const MoeRoute route = reference_route(ranks, rank);
  for (std::int64_t row = 0; row < size_of(route); ++row)
    check_own_row(ranks, rank, route, row, error);
  if (pair.empty()) return error;
  std::int64_t place = size_of(route);
  for (const MoeRow& row : reference_route(pair, rank).rows)
    check_pair_row(at(ranks, rank), place++, pair, row, error);
  return error;
}

RowError check_counts(std::span<const MoeDispatchArgs> ranks, int rank,
                      std::span<const MoeDispatchArgs> pair, int tp_rank) {
  RowError error;
  const MoeDispatchArgs& args = at(ranks, rank);
  const MoeRoute route = reference_route(ranks, rank);
  const MoeRoute other = pair.empty() ? MoeRoute() : reference_route(pair, rank);
  std::int64_t index = 0;
  for (const std::vector<std::int64_t>* ends : {&route.ends, &other.ends})
    for (const std::int64_t end : *ends)
      if (integer_at(args.ep_recv_counts, index++) != end) error.add(kWrong, "ep_recv_counts");

  const auto sources = ranks.size();
  std::int64_t before = 0;
  for (std::size_t i = 0; i * sources < route.ends.size(); ++i) {
    const std::int64_t end = route.ends[(i + 1) * sources - 1] + size_of(other);
    const std::int64_t want = args.tokens_are_ends ? end : end - before;
    before = end;
    if (integer_at(args.expert_token_nums, static_cast<std::int64_t>(i)) != want)
      error.add(kWrong, "expert_token_nums");
  }
  if (!pair.empty() && (integer_at(args.tp_recv_counts, tp_rank) != size_of(route) ||
                        integer_at(args.tp_recv_counts, 1 - tp_rank) != size_of(other)))
    error.add(kWrong, "tp_recv_counts");
  return error;
}

}  // namespace weft::ops
