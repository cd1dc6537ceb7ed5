// SPDX-License-Identifier: Apache-2.0
// What the routing operators compute: against their references, always the same bits, and one
// after the other.
#include "base/isa.h"
#include "counted_memory.h"
#include "moe_routing_case.h"

namespace weft::testing {
namespace {

Status call(Context& context, const MoeGatingTopkSoftmaxArgs& a) {
  return moe_gating_topk_softmax(context, a);
}
Status call(Context& context, const MoeInitRoutingArgs& a) { return moe_init_routing(context, a); }
Status call(Context& context, const MoeFinalizeRoutingArgs& a) {
  return moe_finalize_routing(context, a);
}

template <typename Data>
void expect_right(const Data& data, int threads) {
  const Status status = call(context_of(threads), data.args());
  ASSERT_TRUE(status.ok()) << status.to_string();
  data.expect_correct();
}

// On every instruction set here and for any number of threads, more than rows among them.
template <typename Data>
void expect_same_bits(Data&& data) {
  ASSERT_NO_FATAL_FAILURE(expect_right(data, 1));
  const auto want = data.results();
  for (const int threads : {2, 3, 7}) {
    data.reset();
    ASSERT_TRUE(call(context_of(threads), data.args()).ok());
    EXPECT_EQ(data.results(), want) << threads << " threads";
  }
  for (const isa::Row& row : isa::rows()) {
    if (!row.available) continue;
    Context context = Context::create({.threads = 2, .isa = std::string(row.name)}).value();
    data.reset();
    ASSERT_TRUE(call(context, data.args()).ok());
    EXPECT_EQ(data.results(), want) << row.name;
  }
}

// A plan runs again with other pointers, and allocates nothing.
template <typename Plan, typename Data>
void expect_plan_runs_again(Data&& first, Data&& second) {
  Result<Plan> plan = Plan::plan(context_of(2), first.args());
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  EXPECT_NE(plan->describe().find("threads   2"), std::string::npos) << plan->describe();
  for (auto* data : {&first, &second}) {
    const auto args = data->args();
    const MemoryRequests before = memory_requests();
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(plan->run(args).ok());
    const MemoryRequests after = memory_requests();
    if (counts_memory()) {
      EXPECT_EQ(after.heap - before.heap, 0);
      EXPECT_EQ(after.maps - before.maps, 0);
    }
    data->expect_correct();
  }
}

class MoeRoutingTest : public ::testing::TestWithParam<DType> {
 protected:
  unsigned seed_ = seed_of_this_run();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
};

TEST_P(MoeRoutingTest, GatingOfOddSizes) {
  for (const std::int64_t experts : {1, 2, 31, 32, 33, 64, 100, 257})
    for (const Dims& tokens : {Dims{1}, Dims{5}, Dims{2, 3}, Dims{17}})
      for (const std::int64_t k : {std::int64_t{1}, std::min<std::int64_t>(8, experts), experts})
        for (const double deviation : {0.5, 40.0})
          ASSERT_NO_FATAL_FAILURE(expect_right(GatingData({.type = GetParam(),
                                                           .tokens = tokens,
                                                           .experts = experts,
                                                           .k = k,
                                                           .finished = k != 1,
                                                           .deviation = deviation,
                                                           .seed = ++seed_}),
                                               2));
}

TEST_P(MoeRoutingTest, GatingOfStridesAndSpecialValues) {
  for (int i = 0; i < 60; ++i)
    ASSERT_NO_FATAL_FAILURE(expect_right(GatingData({.type = GetParam(),
                                                     .tokens = i % 2 ? Dims{6} : Dims{2, 1, 3},
                                                     .experts = 40,
                                                     .k = 5,
                                                     .finished = i % 3 == 0,
                                                     .strided = true,
                                                     .special = i % 2 == 0,
                                                     .seed = ++seed_}),
                                         3));
}

TEST_P(MoeRoutingTest, GatingHasTheSameBits) {
  expect_same_bits(GatingData({.type = GetParam(),
                               .tokens = {301},
                               .experts = 157,
                               .k = 9,
                               .special = true,
                               .seed = seed_}));
  expect_same_bits(GatingData({.type = GetParam(), .tokens = {2}, .experts = 2000, .k = 1500}));
}

TEST_P(MoeRoutingTest, InitOfOddSizes) {
  for (const std::int64_t n : {1, 2, 5, 33})
    for (const std::int64_t h : {0, 1, 7, 64})
      for (const std::int64_t k : {1, 2, 9})
        for (const std::int64_t active : {std::int64_t{0}, std::int64_t{1}, n, n + 3})
          for (const Ids ids : {Ids::kFew, Ids::kMany, Ids::kAny})
            ASSERT_NO_FATAL_FAILURE(expect_right(InitData({.type = GetParam(),
                                                           .n = n,
                                                           .h = h,
                                                           .k = k,
                                                           .active_num = active,
                                                           .ids = ids,
                                                           .seed = ++seed_}),
                                                 2));
}

TEST_P(MoeRoutingTest, InitOfStridesAndAnyPermutation) {
  for (int i = 0; i < 60; ++i)
    ASSERT_NO_FATAL_FAILURE(expect_right(InitData({.type = GetParam(),
                                                   .n = 7,
                                                   .h = 5,
                                                   .k = 3,
                                                   .active_num = i % 9,
                                                   .ids = static_cast<Ids>(i % 3),
                                                   .strided = true,
                                                   .shuffled = i % 2 == 0,
                                                   .seed = ++seed_}),
                                         3));
}

TEST_P(MoeRoutingTest, InitHasTheSameBits) {
  expect_same_bits(InitData({.type = GetParam(),
                             .n = 501,
                             .h = 100,
                             .k = 6,
                             .active_num = 501,
                             .ids = Ids::kAny,
                             .shuffled = true,
                             .seed = seed_}));
  expect_same_bits(InitData({.type = GetParam(), .n = 1, .h = 9000, .k = 2, .active_num = 1}));
}

// Every combination of operands, in both orders, with and without dropped rows.
TEST_P(MoeRoutingTest, FinalizeOfAllOperands) {
  for (int form = 0; form < 128; ++form) {
    FinalizeCase c = {.type = GetParam(), .n = 5, .h = 1 + form % 70, .k = 1 + form % 4};
    c.x1 = form & 1, c.x2 = form & 2, c.bias = form & 4, c.scales = form & 8;
    c.padded = form & 16;
    c.order = form & 32 ? ExpandedRowOrder::kRowMajor : ExpandedRowOrder::kColumnMajor;
    c.in_place = c.x1 && form & 64;
    c.float_scales = c.type == DType::kBFloat16 && form & 64;
    c.seed = ++seed_;
    ASSERT_NO_FATAL_FAILURE(expect_right(FinalizeData(c), 2));
    c.strided = c.special = true;
    ASSERT_NO_FATAL_FAILURE(expect_right(FinalizeData(c), 3));
  }
}

// On both sides of the size from which out goes past the cache.
TEST_P(MoeRoutingTest, FinalizeHasTheSameBits) {
  for (const bool padded : {false, true})
    expect_same_bits(FinalizeData({.type = GetParam(),
                                   .n = padded ? 401 : 3,
                                   .h = padded ? 1500 : 77,
                                   .k = 4,
                                   .padded = padded,
                                   .special = true,
                                   .seed = seed_}));
}

TEST_P(MoeRoutingTest, PlansRunAgain) {
  expect_plan_runs_again<MoeGatingTopkSoftmax>(
      GatingData({.type = GetParam(), .tokens = {9}, .finished = true, .seed = 1}),
      GatingData({.type = GetParam(), .tokens = {9}, .finished = true, .seed = 2}));
  expect_plan_runs_again<MoeInitRouting>(InitData({.type = GetParam(), .seed = 1}),
                                         InitData({.type = GetParam(), .seed = 2}));
  expect_plan_runs_again<MoeFinalizeRouting>(FinalizeData({.type = GetParam(), .seed = 1}),
                                             FinalizeData({.type = GetParam(), .seed = 2}));
}

TEST_P(MoeRoutingTest, NoRowsNoWork) {
  const auto expect_nothing = [](const auto& data, const auto& plan) {
    ASSERT_TRUE(plan.ok()) << plan.status().to_string();
    EXPECT_EQ(plan->describe(), "nothing to compute: there are no rows\n");
    const Status status = call(context_of(2), data.args());
    EXPECT_TRUE(status.ok()) << status.to_string();
    EXPECT_TRUE(data.outputs_untouched());
  };
  for (const Dims& tokens : {Dims{0}, Dims{3, 0}}) {
    const GatingData data({.type = GetParam(), .tokens = tokens, .finished = true});
    expect_nothing(data, MoeGatingTopkSoftmax::plan(context_of(2), data.args()));
  }
  for (const std::int64_t experts : {0, 4}) {
    const GatingData data({.type = GetParam(), .experts = experts, .k = 0});
    expect_nothing(data, MoeGatingTopkSoftmax::plan(context_of(2), data.args()));
  }
  for (const InitCase& c : {InitCase{.n = 0}, InitCase{.k = 0}}) {
    const InitData data(c);
    expect_nothing(data, MoeInitRouting::plan(context_of(2), data.args()));
  }
  for (const FinalizeCase& c : {FinalizeCase{.n = 0}, FinalizeCase{.h = 0}}) {
    const FinalizeData data(c);
    expect_nothing(data, MoeFinalizeRouting::plan(context_of(2), data.args()));
  }
}

// Without experts a token is what is added to it.
TEST_P(MoeRoutingTest, FinalizeWithoutExperts) {
  for (const bool x1 : {false, true})
    ASSERT_NO_FATAL_FAILURE(
        expect_right(FinalizeData({.type = GetParam(), .k = 0, .x1 = x1, .x2 = false}), 2));
}

INSTANTIATE_TEST_SUITE_P(All, MoeRoutingTest, ::testing::ValuesIn(kFloats),
                         [](const auto& info) { return std::string(to_string(info.param)); });

}  // namespace
}  // namespace weft::testing
