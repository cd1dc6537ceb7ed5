// SPDX-License-Identifier: Apache-2.0
// The calls of a MoeCase on all of its ranks, which are threads of the test.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "moe_case.h"
#include "thread_ranks.h"
#include "used_context.h"

namespace weft::testing {

inline Context context_with(int threads) { return Context::create({.threads = threads}).value(); }

/// The groups of experts and, with TP, the pairs.
class MoeGroups {
 public:
  MoeGroups(int ranks, bool tp, const GroupOptions& options = quick_options(),
            const std::string& transport = "loopback") {
    for (int q = 0; q < (tp ? 2 : 1); ++q)
      experts_.push_back(make_groups(transport, ranks, options));
    for (int r = 0; r < ranks && tp; ++r) pairs_.push_back(make_groups(transport, 2, options));
  }
  int ranks() const { return static_cast<int>(experts_[0].size()); }
  Group& experts(int rank, int tp_rank = 0) {
    return experts_[static_cast<std::size_t>(tp_rank)][static_cast<std::size_t>(rank)];
  }
  Group* pair(int rank, int tp_rank) {
    if (pairs_.empty()) return nullptr;
    return &pairs_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(tp_rank)];
  }
  /// body(rank, tp_rank) for all, each on its thread.
  void on_all(const std::function<void(int, int)>& body) {
    run_threads(ranks() * static_cast<int>(experts_.size()),
                [&](int i) { body(i % ranks(), i / ranks()); });
  }

 private:
  std::vector<std::vector<Group>> experts_, pairs_;
};

inline void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.to_string(); }

/// On one rank.
inline Status dispatch(Context& context, MoeGroups& groups, const MoeData& data, int r, int q = 0,
                       MoeDispatchCounts* counts = nullptr) {
  return moe_dispatch(context, groups.experts(r, q), data.dispatch(r, q),
                      {.tp_group = groups.pair(r, q), .counts = counts});
}
inline Status combine(Context& context, MoeGroups& groups, const MoeData& data, int r, int q = 0) {
  return moe_combine(context, groups.experts(r, q), data.combine(r, q),
                     {.tp_group = groups.pair(r, q)});
}
inline Status norm(Context& context, MoeGroups& groups, const MoeData& data, int r, int q = 0) {
  return moe_combine_add_rmsnorm(context, groups.experts(r, q), data.norm(r, q),
                                 {.tp_group = groups.pair(r, q)});
}

/// Dispatches, combines and combines with the norm, and expects all of it to be right.
inline void run_and_expect_correct(MoeGroups& groups, MoeData& data, int threads = 1) {
  groups.on_all([&](int r, int q) {
    Context context = context_with(threads);
    MoeDispatchCounts counts;
    expect_ok(dispatch(context, groups, data, r, q, &counts));
    const MoeDispatchCounts want = data.expected_counts(r, q);
    EXPECT_EQ(counts.rows_sent, want.rows_sent) << data.fields.text();
    EXPECT_EQ(counts.out_of_range, want.out_of_range) << data.fields.text();
    EXPECT_EQ(counts.doubled, want.doubled) << data.fields.text();
    data.expect_dispatched(r, q);
  });
  if (::testing::Test::HasFailure()) return;  // the way back would be wrong
  groups.on_all([&](int r, int q) {
    Context context = used_context({.threads = threads}, 4096);
    expect_ok(combine(context, groups, data, r, q));
  });
  groups.on_all([&](int r, int q) { data.expect_combined(r, q); });
  data.reset_outputs();
  groups.on_all([&](int r, int q) {
    Context context = used_context({.threads = threads}, 4096);
    expect_ok(norm(context, groups, data, r, q));
  });
  groups.on_all([&](int r, int q) { data.expect_normed(r, q); });
}
inline void run_and_expect_correct(const MoeCase& c, int threads = 1,
                                   const GroupOptions& options = quick_options()) {
  SCOPED_TRACE(c.text());
  MoeGroups groups(c.ranks, c.tp, options);
  MoeData data(c);
  run_and_expect_correct(groups, data, threads);
}

}  // namespace weft::testing
