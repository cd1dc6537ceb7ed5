// SPDX-License-Identifier: Apache-2.0
// What a call of a MoeCase has to leave behind.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "moe_case.h"
#include "ops/moe_combine/reference.h"
#include "ops/moe_combine_add_rmsnorm/reference.h"
#include "ops/moe_dispatch/reference.h"
#include "ops/moe_reference.h"

namespace weft::testing {
namespace {

namespace reference = ops::moe_reference;

/// No element from a row on, or element of a vector, has changed.
bool untouched_from(const GuardedTensor& t, std::int64_t row) {
  if (!t.given()) return true;
  const ConstTensorRef now = t.view(), before = t.original();
  const std::int64_t bytes = info(now.dtype()).bits / 8;
  const std::int64_t columns = now.rank() == 1 ? 1 : now.dim(1);
  for (; row < now.dim(0); ++row) {
    const std::int64_t at = row * now.stride(0) * bytes;
    if (std::memcmp(static_cast<const char*>(now.data()) + at,
                    static_cast<const char*>(before.data()) + at,
                    static_cast<std::size_t>(columns * bytes)) != 0)
      return false;
  }
  return true;
}

void expect_exact(const ops::RowError& error) { EXPECT_EQ(error.worst, 0) << error.where; }

}  // namespace

MoeDispatchCounts MoeData::expected_counts(int r, int q) const {
  const MoeRank& rank = at(r, q);
  const reference::Activity active(rank.mask.view(), rank.expert_ids.view());
  const std::int64_t shared = fields.experts.shared_expert_num;
  MoeDispatchCounts counts;
  for (std::int64_t t = 0; t < fields.tokens_of(r, q); ++t) {
    if (active.token(t)) counts.rows_sent += shared;
    Dims seen;
    for (std::int64_t k = 0; k < fields.k; ++k) {
      if (!active.entry(t, k)) continue;
      const std::int64_t id = reference::integer_at(rank.expert_ids.view(), t, k);
      const reference::Kind kind = reference::expert_of(fields.experts, id).kind;
      if (kind == reference::Kind::kNone) ++counts.out_of_range;
      if (kind != reference::Kind::kRouted) continue;
      ++counts.rows_sent;
      if (std::ranges::count(seen, id) > 0) ++counts.doubled;
      seen.push_back(id);
    }
  }
  return counts;
}

void MoeData::route_by_reference(int r, int q) {
  const ops::MoeRoute route = ops::reference_route(dispatches(q), r);
  auto* triples = static_cast<std::byte*>(at(r, q).assist.writable().data());
  auto* counts = static_cast<std::byte*>(at(r, q).ep_counts.writable().data());
  const auto put = [](std::byte*& to, std::int64_t value) {
    const auto word = static_cast<std::int32_t>(value);
    std::memcpy(to, &word, sizeof word);
    to += sizeof word;
  };
  for (const ops::MoeRow& row : route.rows)
    for (const std::int64_t value : {row.source, row.token, row.slot}) put(triples, value);
  for (const std::int64_t end : route.ends) put(counts, end);
  if (!fields.tp) return;
  for (const std::int64_t end : ops::reference_route(dispatches(1 - q), r).ends) put(counts, end);
  auto* both = static_cast<std::byte*>(at(r, q).tp_counts.writable().data());
  for (int half = 0; half < 2; ++half) put(both, ops::reference_rows(dispatches(half), r));
}

void MoeData::reset_outputs() {
  for (MoeRank& rank : ranks_)
    for (GuardedTensor* t : {&rank.combined, &rank.y, &rank.rstd}) t->reset();
}

void MoeData::expect_dispatched(int r, int q) const {
  SCOPED_TRACE(fmt::format("{}: rank {} tp_rank {}", fields.text(), r, q));
  const MoeRank& rank = at(r, q);
  const std::vector<MoeDispatchArgs> all = dispatches(q), pair = dispatches(fields.tp ? 1 - q : 2);
  expect_exact(ops::check_rows(all, r, pair));
  expect_exact(ops::check_counts(all, r, pair, q));
  const std::int64_t rows = this->rows(r, q);
  EXPECT_TRUE(untouched_from(rank.expand_x, rows));
  EXPECT_TRUE(untouched_from(rank.dynamic_scales, fields.int8_rows ? rows : 0));
  EXPECT_TRUE(untouched_from(rank.assist, 3 * ops::reference_rows(all, r)));
  EXPECT_TRUE(untouched_from(rank.ep_counts, rank.ep_counts.view().dim(0) - 1));
  for (const GuardedTensor* t : {&rank.x, &rank.expert_ids, &rank.scales, &rank.mask})
    EXPECT_TRUE(t->unchanged());
  for (const GuardedTensor* t : {&rank.expand_x, &rank.dynamic_scales, &rank.assist,
                                 &rank.token_nums, &rank.ep_counts, &rank.tp_counts})
    EXPECT_TRUE(t->guards_intact());
}

void MoeData::expect_inactive_untouched(int r, int q, const GuardedTensor& output) const {
  EXPECT_TRUE(output.guards_intact());
  const ConstTensorRef now = output.view(), before = output.original();
  const std::int64_t bytes = info(now.dtype()).bits / 8, tokens = fields.tokens_of(r, q);
  const bool is_rstd = now.dtype() == DType::kFloat32;  // dense
  const std::int64_t columns = is_rstd ? 1 : fields.h;
  const MoeRank& rank = at(r, q);
  const reference::Activity active(rank.mask.view(), rank.expert_ids.view());
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (active.token(t)) continue;
    const std::int64_t begin = (is_rstd ? t : ops::row_index(now, t)) * bytes;
    EXPECT_EQ(std::memcmp(static_cast<const char*>(now.data()) + begin,
                          static_cast<const char*>(before.data()) + begin,
                          static_cast<std::size_t>(columns * bytes)),
              0)
        << "token " << t << " is not active but was written";
  }
}

void MoeData::expect_combined(int r, int q) const {
  SCOPED_TRACE(fmt::format("{}: rank {} tp_rank {}", fields.text(), r, q));
  const std::vector<MoeCombineArgs> all = combines(q), pair = combines(fields.tp ? 1 - q : 2);
  for (std::int64_t t = 0; t < fields.tokens_of(r, q); ++t)
    EXPECT_EQ(ops::check_row(all, r, t, pair).worst, 0) << "token " << t;
  expect_inactive_untouched(r, q, at(r, q).combined);
  EXPECT_TRUE(at(r, q).returned.unchanged());
}

void MoeData::expect_normed(int r, int q) const {
  SCOPED_TRACE(fmt::format("{}: rank {} tp_rank {}", fields.text(), r, q));
  const std::vector<MoeCombineAddRmsNormArgs> all = norms(q), pair = norms(fields.tp ? 1 - q : 2);
  for (std::int64_t t = 0; t < fields.tokens_of(r, q); ++t) {
    const ops::RowError error = ops::check_row(all, r, t, pair);
    EXPECT_LE(error.worst, 1) << error.where << " of token " << t;
  }
  const MoeRank& rank = at(r, q);
  for (const GuardedTensor* t : {&rank.combined, &rank.y, &rank.rstd})
    expect_inactive_untouched(r, q, *t);
  EXPECT_TRUE(fields.in_place || rank.residual.unchanged());
}

void MoeData::expect_untouched(int r, int q) const {
  const MoeRank& rank = at(r, q);
  for (const GuardedTensor* t :
       {&rank.expand_x, &rank.dynamic_scales, &rank.assist, &rank.token_nums, &rank.ep_counts,
        &rank.tp_counts, &rank.combined, &rank.y, &rank.rstd})
    EXPECT_TRUE(t->unchanged());
}

}  // namespace weft::testing
