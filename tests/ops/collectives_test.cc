// SPDX-License-Identifier: Apache-2.0
// Every collective with every type, operation, number of ranks and kind of buffer, one after the
// other on one group, against plain loops, bit for bit.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "collectives_case.h"
#include "processes.h"
#include "thread_ranks.h"

namespace weft::testing {
namespace {

constexpr DType kMovable[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt8,
                              DType::kInt32,   DType::kInt64,   DType::kUInt64,   DType::kBool,
                              DType::kInt16,   DType::kUInt8,   DType::kUInt16,   DType::kUInt32,
                              DType::kFloat64};
constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMax, ReduceOp::kMin,
                             ReduceOp::kAvg, ReduceOp::kBand, ReduceOp::kBor, ReduceOp::kBxor};

constexpr std::int64_t kLargeWindow = 64 << 20;  // calls of one shot have their place in it
constexpr std::int64_t kSmallWindow = 48 << 10;  // everything goes around the ring, in many blocks

GroupOptions window_of(std::int64_t bytes) {
  GroupOptions options = quick_options();
  options.window_bytes = bytes;
  return options;
}

Context context_of(int threads) { return Context::create({.threads = threads}).value(); }

/// Cases differ in everything that is cheap to vary, by their number.
CollectiveCase vary(CollectiveCase c, int number) {
  c.root = number % c.ranks;
  c.in_place = number % 2;
  constexpr int kMisaligned[] = {0, 8, 1, 0, 2, 37};
  c.misaligned = kMisaligned[number % 6];
  c.seed = static_cast<std::uint64_t>(number) + 1;
  return c;
}

void for_each_kind(const std::function<void(Function, DType, ReduceOp)>& body) {
  for (int i = 0; i < kFunctions; ++i) {
    const auto function = static_cast<Function>(i);
    for (const DType dtype : kMovable) {
      if (!reduces(function)) body(function, dtype, ReduceOp::kSum);
      for (const ReduceOp op : kOps)
        if (reduces(function) && reducible(dtype, op)) body(function, dtype, op);
    }
  }
}

/// The operations of a type in turn.
ReduceOp any_op(DType dtype, int number) {
  constexpr int kCount = std::size(kOps);
  while (!reducible(dtype, kOps[number % kCount])) ++number;
  return kOps[number % kCount];
}

/// Everything at small counts.
std::vector<CollectiveCase> all_kinds(int ranks) {
  std::vector<CollectiveCase> cases;
  int number = 0;
  for_each_kind([&](Function function, DType dtype, ReduceOp op) {
    for (const std::int64_t count : {0, 1, 67, 1237})
      if (count > 1 || op < ReduceOp::kAvg)  // at the edges all operations go one way
        cases.push_back(vary({function, dtype, op, ranks, count}, number++));
  });
  return cases;
}

/// Every function around the sizes at which its way through the windows changes, and larger than
/// those windows.
std::vector<CollectiveCase> all_sizes(int ranks) {
  std::vector<CollectiveCase> cases;
  int number = 0;
  std::vector<DType> dtypes = {DType::kFloat16, DType::kInt8};
  if (ranks <= 3) dtypes.insert(dtypes.end(), {DType::kBFloat16, DType::kFloat64});
  for (int i = 0; i < kFunctions; ++i)
    for (const DType dtype : dtypes)
      for (const std::int64_t bytes : {32 << 10, 128 << 10, (256 << 10) + 72, 1 << 20})
        cases.push_back(vary({static_cast<Function>(i), dtype, any_op(dtype, number), ranks,
                              bytes / bytes_of(dtype, 1) / (i == 0 ? 1 : ranks)},
                             number++));
  return cases;
}

/// This rank's part of all cases.
void run_cases(Context& context, Group& group, const std::vector<CollectiveCase>& cases) {
  for (const CollectiveCase& c : cases) {
    CollectiveMemory memory(c, group.rank());
    const Status status = memory.call(context, group);
    ASSERT_TRUE(status.ok()) << c.text() << ": " << status.to_string();
    memory.expect_correct();
    if (::testing::Test::HasFailure()) return;
  }
}

// ranks, window
class Collectives : public ::testing::TestWithParam<std::tuple<int, std::int64_t>> {
 protected:
  static int ranks() { return std::get<0>(GetParam()); }
  static GroupOptions options() { return window_of(std::get<1>(GetParam())); }

  static void run_on_threads(const std::vector<CollectiveCase>& cases, int threads_per_rank) {
    std::vector<Group> groups = make_groups("loopback", ranks(), options());
    on_all(groups, [&](Group& group) {
      Context context = context_of(threads_per_rank);
      run_cases(context, group, cases);
    });
  }
};

TEST_P(Collectives, EveryTypeAndOperationIsExact) { run_on_threads(all_kinds(ranks()), 1); }

TEST_P(Collectives, EverySizeIsExact) { run_on_threads(all_sizes(ranks()), 1); }

TEST_P(Collectives, ProcessesGetTheSame) {
  if (ranks() == 1 || ranks() == 5) return;
  const UniqueId id = UniqueId::create().value();
  run_ranks(ranks(), [&](Rank& rank) {
    Group group = Group::join(id, rank.rank, rank.ranks, options()).value();
    Context context = context_of(1);
    run_cases(context, group, all_kinds(ranks()));
    run_cases(context, group, all_sizes(ranks()));
    return std::string();
  });
}

TEST_P(Collectives, MoreThreadsGiveTheSame) {
  if (ranks() == 2) run_on_threads(all_sizes(ranks()), 3);
}

// Whoever returns first spoils its buffers and leaves the group, while others have not even called.
TEST_P(Collectives, WhoReturnsIsNeededNoMore) {
  for (const bool processes : {false, true})
    for (int i = 0; i < kFunctions; ++i)
      for (const std::int64_t count : {100, 50'000}) {
        CollectiveCase c =
            vary({static_cast<Function>(i), DType::kInt32, ReduceOp::kSum, ranks(), count}, i);
        const UniqueId id = UniqueId::create().value();
        const auto call_and_leave = [&](Group group, int late) {
          std::this_thread::sleep_for(std::chrono::milliseconds(late));
          const int rank = group.rank();
          Context context = context_of(1);
          CollectiveMemory memory(c, rank);
          const Status status = memory.call(context, group);
          memory.give_up();
          { const Group left = std::move(group); }
          EXPECT_TRUE(status.ok()) << c.text() << ": " << status.to_string();
          memory.expect_correct();
        };
        // Another rank is the last for every function.
        const auto late = [&](int rank) { return (rank + i) % ranks() * 2; };
        if (processes) {
          run_ranks(ranks(), [&](Rank& rank) {
            call_and_leave(Group::join(id, rank.rank, rank.ranks, options()).value(),
                           late(rank.rank));
            return std::string();
          });
        } else {
          std::vector<Group> groups = make_groups("loopback", ranks(), options());
          run_threads(ranks(), [&](int rank) {
            call_and_leave(std::move(groups[static_cast<std::size_t>(rank)]), late(rank));
          });
        }
      }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives,
                         ::testing::Combine(::testing::Values(1, 2, 3, 5, 8),
                                            ::testing::Values(kLargeWindow, kSmallWindow)),
                         [](const auto& test) {
                           return "ranks" + std::to_string(std::get<0>(test.param)) +
                                  (std::get<1>(test.param) == kLargeWindow ? "_large" : "_small") +
                                  "_window";
                         });

}  // namespace
}  // namespace weft::testing
