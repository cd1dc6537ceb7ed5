// SPDX-License-Identifier: Apache-2.0
// Mixtures whose numbers can be worked out by hand, what tasks find wrong, and the barriers.
#include <atomic>
#include <cmath>
#include <vector>

#include "moe_case.h"

namespace weft::cann {
namespace {

using Numbers = std::vector<double>;

class MoeExamples : public RuntimeTest {
 protected:
  static MoeOperand& of(MoeCase& c, int device, const char* name) {
    return c.operands[static_cast<std::size_t>(device)][name];
  }
  static void set(MoeOperand& operand, const Numbers& numbers) {
    for (std::size_t i = 0; i < numbers.size(); ++i)
      operand.set(static_cast<std::int64_t>(i), numbers[i]);
  }
  /// Every row is one number, or two for its even and odd columns.
  static void set_rows(MoeOperand& operand, const Numbers& even, const Numbers& odd) {
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(even.size()) * kHidden; ++i) {
      const auto row = static_cast<std::size_t>(i / kHidden);
      operand.set(i, i % 2 == 0 ? even[row] : odd[row]);
    }
  }
  static void set_rows(MoeOperand& operand, const Numbers& rows) { set_rows(operand, rows, rows); }
  /// The first numbers are these, and the one behind them was not written.
  static void expect(const MoeOperand& operand, const Numbers& numbers, bool and_no_more = true) {
    for (std::size_t i = 0; i < numbers.size(); ++i)
      EXPECT_EQ(operand.get(static_cast<std::int64_t>(i)), numbers[i]) << i;
    const auto end = static_cast<std::int64_t>(numbers.size());
    if (and_no_more && end < operand.size()) {
      EXPECT_TRUE(operand.untouched(end));
    }
  }
  static void expect_rows(const MoeOperand& operand, const Numbers& even, const Numbers& odd) {
    const auto end = static_cast<std::int64_t>(even.size()) * kHidden;
    for (std::int64_t i = 0; i < end; ++i) {
      const auto row = static_cast<std::size_t>(i / kHidden);
      ASSERT_EQ(operand.get(i), i % 2 == 0 ? even[row] : odd[row]) << "row " << row;
    }
    for (std::int64_t i = end; i < operand.size(); ++i) ASSERT_TRUE(operand.untouched(i));
  }
  static void expect_rows(const MoeOperand& operand, const Numbers& rows) {
    expect_rows(operand, rows, rows);
  }
  /// The code of each device.
  static std::vector<int> dispatch(const MoeCase& c, const MoeGroups& groups,
                                   const std::function<void(int, EntryCall&)>& change = {}) {
    return each(c, groups, [&](int device) {
      EntryCall call = c.dispatch(device, groups.ep(device), groups.tp(device));
      if (change) change(device, call);
      return call;
    });
  }
  static std::vector<int> combine(const MoeCase& c, const MoeGroups& groups) {
    return each(c, groups, [&](int device) {
      return c.combine(device, groups.ep(device), groups.tp(device));
    });
  }
  static std::vector<int> each(const MoeCase& c, const MoeGroups& groups,
                               const std::function<EntryCall(int)>& call) {
    std::vector<int> codes(static_cast<std::size_t>(c.world.devices()));
    groups.run([&](int device, aclrtStream stream) {
      codes[static_cast<std::size_t>(device)] = call_and_wait(call(device), stream);
    });
    return codes;
  }
  static std::vector<int> all(int code, int devices = 2) {
    return std::vector<int>(static_cast<std::size_t>(devices), code);
  }
  static constexpr std::int64_t kHidden = 1024;
};

/// Two ranks with two experts each and three tokens; experts e return (e + 1) · row.
struct TwoRanks {
  explicit TwoRanks(const MoeWorld& world = {}) : groups(world), c(world, 1) {}
  MoeGroups groups;
  MoeCase c;
};

class ExampleOfTwoRanks : public MoeExamples {
 protected:
  static void fill(MoeCase& c) {
    set_rows(of(c, 0, "x"), {1, 2, 3});
    set_rows(of(c, 1, "x"), {4, 5, 6});
    set(of(c, 0, "expertIds"), {0, 2, 3, 0, 1, 2});
    set(of(c, 1, "expertIds"), {2, 1, 0, 2, 3, 2});
    set(of(c, 0, "expertScales"), {.5, .25, 1, .5, .25, .75});
    set(of(c, 1, "expertScales"), {.5, .5, .75, .25, 1, .125});
    set_rows(of(c, 0, "rows"), {1, 2, 5, 6, 8});
    set_rows(of(c, 1, "rows"), {3, 9, 12, 15, 18, 8, 24});
  }
};

TEST_F(ExampleOfTwoRanks, RowsCountsAndSums) {
  for (bool ends : {false, true}) {
    TwoRanks two({.ends = ends});
    MoeCase& c = two.c;
    fill(c);
    ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
    expect_rows(of(c, 0, "expandX"), {1, 2, 5, 3, 4});
    expect_rows(of(c, 1, "expandX"), {1, 3, 4, 5, 6, 2, 6});
    expect(of(c, 0, "epRecvCounts"), {2, 3, 4, 5});
    expect(of(c, 1, "epRecvCounts"), {2, 5, 6, 7});
    expect(of(c, 0, "expertTokenNums"), ends ? Numbers{3, 5} : Numbers{3, 2});
    expect(of(c, 1, "expertTokenNums"), ends ? Numbers{5, 7} : Numbers{5, 2});
    expect(of(c, 0, "assistInfoForCombine"), {0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 2, 0, 1, 0, 1});
    expect(of(c, 1, "dynamicScales"), {});
    ASSERT_EQ(combine(c, two.groups), all(ACLNN_SUCCESS)) << text();
    expect_rows(of(c, 0, "xOut"), {1.25, 9, 8.25});
    expect_rows(of(c, 1, "xOut"), {10, 7.5, 26.25});
  }
}

TEST_F(ExampleOfTwoRanks, ResidualAndNorm) {
  TwoRanks two({.norm = true});
  MoeCase& c = two.c;
  fill(c);
  for (int device : {0, 1}) set_rows(of(c, device, "gamma"), {1}, {.75});
  set_rows(of(c, 0, "residualX"), {1.75, -12, -.25}, {2.75, -6, -.25});
  set_rows(of(c, 1, "residualX"), {-10, .015625, .25}, {-10, 0, -.25});
  ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
  ASSERT_EQ(combine(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "xOut"), {3, -3, 8}, {4, 3, 8});
  expect_rows(of(c, 1, "xOut"), {0, 7.5, 26.5}, {0, 7.5, 26});
  // bfloat16 before gamma: otherwise 0.84765625 in the odd columns; ties go to even.
  expect_rows(of(c, 0, "yOut"), {.84765625, -1, 1}, {.8515625, .75, .75});
  expect_rows(of(c, 1, "yOut"), {0, 1, 1.0078125}, {0, .75, .7421875});
  const Numbers rstd = {.28284270, .33333331, .125, 999.99994, .13319451, .03809351};
  for (std::size_t i = 0; i < rstd.size(); ++i)
    EXPECT_NEAR(of(c, static_cast<int>(i / 3), "rstdOut").get(static_cast<std::int64_t>(i % 3)),
                rstd[i], 2e-6 * rstd[i]);
}

TEST_F(ExampleOfTwoRanks, Masks) {
  TwoRanks two({.mask_axes = 2});
  MoeCase& c = two.c;
  fill(c);
  set(of(c, 0, "xActiveMask"), {1, 1, 1, 0, 0, 0});
  set(of(c, 1, "xActiveMask"), {1, 1, 1, 1, 1, 1});
  ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "expandX"), {1, 5, 4});
  expect_rows(of(c, 1, "expandX"), {1, 4, 5, 6, 2, 6});
  expect(of(c, 0, "epRecvCounts"), {1, 2, 2, 3});
  expect(of(c, 1, "epRecvCounts"), {1, 4, 5, 6});
  set_rows(of(c, 0, "rows"), {1, 5, 8});
  set_rows(of(c, 1, "rows"), {3, 12, 15, 18, 8, 24});
  ASSERT_EQ(combine(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "xOut"), {1.25, 8});
  expect_rows(of(c, 1, "xOut"), {10, 7.5, 26.25});
}

// Of a mask with one axis the number of ones counts, wherever they are.
TEST_F(ExampleOfTwoRanks, AMaskWithAGap) {
  TwoRanks two({.mask_axes = 1});
  MoeCase& c = two.c;
  fill(c);
  set(of(c, 0, "xActiveMask"), {1, 0, 1});
  set(of(c, 1, "xActiveMask"), {1, 1, 1});
  ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "expandX"), {1, 2, 5, 4});
  expect(of(c, 0, "epRecvCounts"), {2, 3, 3, 4});
  expect_rows(of(c, 1, "expandX"), {1, 4, 5, 6, 2, 6});
}

// Every rank has one expert, whose halves are on the two ranks of a pair.
TEST_F(MoeExamples, APairForEveryExpert) {
  const MoeWorld world = {.tp = 2, .experts = 2, .k = 1, .tokens = {2}};
  const MoeGroups groups(world);
  MoeCase c(world, 1);
  const Numbers x[] = {{1, 2}, {5, 6}, {3, 4}, {7, 8}}, ids[] = {{0, 1}, {1, 1}, {0, 0}, {0, 1}};
  for (int device = 0; device < 4; ++device) {
    set_rows(of(c, device, "x"), x[device]);
    set(of(c, device, "expertIds"), ids[device]);
    set(of(c, device, "expertScales"), {2, 2});
  }
  ASSERT_EQ(dispatch(c, groups), all(ACLNN_SUCCESS, 4)) << text();
  const Numbers rows[] = {{1, 3, 4, 7}, {7, 1, 3, 4}, {2, 5, 6, 8}, {5, 6, 8, 2}};
  const Numbers counts[] = {{1, 3, 0, 1}, {0, 1, 1, 3}, {1, 1, 2, 3}, {2, 3, 1, 1}};
  const Numbers routes[] = {
      {0, 0, 0, 1, 0, 0, 1, 1, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 0, 0, 1, 0, 1, 1, 0}};
  for (int device = 0; device < 4; ++device) {
    SCOPED_TRACE(device);
    expect_rows(of(c, device, "expandX"), rows[device]);
    expect(of(c, device, "epRecvCounts"), counts[device]);
    expect(of(c, device, "tpRecvCounts"), device < 2 ? Numbers{3, 1} : Numbers{1, 3});
    expect(of(c, device, "expertTokenNums"), {4});
    expect(of(c, device, "assistInfoForCombine"), routes[device]);
    Numbers half = rows[device];
    for (double& row : half) row *= device % 2 == 0 ? .25 : .75;
    set_rows(of(c, device, "rows"), half);
  }
  ASSERT_EQ(combine(c, groups), all(ACLNN_SUCCESS, 4)) << text();
  for (int device = 0; device < 4; ++device)
    expect_rows(of(c, device, "xOut"), {2 * x[device][0], 2 * x[device][1]});
}

// assistInfoForCombine may have room for the own rows alone.
TEST_F(MoeExamples, APairWithAShortRoute) {
  const MoeWorld world = {.tp = 2, .experts = 2, .k = 1, .tokens = {2}};
  const MoeGroups groups(world);
  MoeCase c(world, 1);
  std::vector<MoeOperand> routes(4);
  ASSERT_EQ(dispatch(c, groups,
                     [&](int device, EntryCall& call) {
                       MoeOperand& route = routes[static_cast<std::size_t>(device)];
                       route = MoeOperand(ACL_INT32, {12});
                       call.tensors["assistInfoForCombine"] = route.describe();
                     }),
            all(ACLNN_SUCCESS, 4))
      << text();
  for (int device = 0; device < 4; ++device) {
    Numbers wanted;
    for (const MoeRow& row : c.rows_of(device))
      for (std::int64_t number : {std::int64_t{row.device / 2}, row.token, row.slot})
        wanted.push_back(static_cast<double>(number));
    expect(routes[static_cast<std::size_t>(device)], wanted);
  }
}

TEST_F(MoeExamples, WhatIsNoExpertIsNotSent) {
  TwoRanks two({.tokens = {2}});
  MoeCase& c = two.c;
  for (int device : {0, 1}) {
    set_rows(of(c, device, "x"), {1, 2});
    set(of(c, device, "expertIds"), {-1, 0, 99, 3});
    set(of(c, device, "expertScales"), {1, 2, 4, 8});
  }
  ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "expandX"), {1, 1});
  expect_rows(of(c, 1, "expandX"), {2, 2});
  set_rows(of(c, 0, "rows"), {1, 1});
  set_rows(of(c, 1, "rows"), {2, 2});
  ASSERT_EQ(combine(c, two.groups), all(ACLNN_SUCCESS)) << text();
  expect_rows(of(c, 0, "xOut"), {2, 16});
}

// An expert twice in a row: both entries are rows, if there is room.
TEST_F(MoeExamples, MoreRowsThanTheMemoryHas) {
  for (std::int64_t rows : {8, 7}) {
    TwoRanks two({.experts = 2, .tokens = {2}});
    MoeCase& c = two.c;
    for (int device : {0, 1}) set(of(c, device, "expertIds"), {0, 0, 0, 0});
    MoeOperand expand(ACL_BF16, {rows, 1024}), route(ACL_INT32, {3 * rows});
    const auto codes = dispatch(c, two.groups, [&](int device, EntryCall& call) {
      if (device == 1) return;
      call.tensors["expandX"] = expand.describe();
      call.tensors["assistInfoForCombine"] = route.describe();
    });
    EXPECT_EQ(codes, all(rows == 8 ? ACL_SUCCESS : ACL_ERROR_RT_AICORE_EXCEPTION));
    if (rows == 8) expect(of(c, 0, "epRecvCounts"), {4, 8});
    if (rows < 8) {
      EXPECT_TRUE(expand.untouched(0));
    }
  }
}

TEST_F(MoeExamples, TheFirstCombineNeedsTheExpertsOfItsDispatch) {
  TwoRanks two({.version = 1});
  MoeCase& c = two.c;
  ASSERT_EQ(dispatch(c, two.groups), all(ACLNN_SUCCESS)) << text();
  for (int device : {0, 1}) c.compute(device);
  for (int device : {0, 1}) set(of(c, device, "expertIds"), {0, 1, 0, 1, 0, 1});
  of(c, 0, "epRecvCounts").set(3, 11);
  of(c, 1, "epRecvCounts").set(3, 1);
  EXPECT_EQ(combine(c, two.groups), all(ACL_ERROR_RT_AICORE_EXCEPTION));
}

// It is read when the task runs; the rank that finds it tells the others.
TEST_F(MoeExamples, ElasticGroupsAreRefused) {
  for (double scaled : {0, 1}) {
    TwoRanks two({.version = 3});
    MoeOperand elastic(ACL_INT32, {8});
    elastic.set(0, scaled);
    const auto codes = dispatch(two.c, two.groups, [&](int device, EntryCall& call) {
      if (device == 0) call.tensors["elasticInfo"] = elastic.describe();
    });
    EXPECT_EQ(codes, all(scaled == 0 ? ACL_SUCCESS : ACL_ERROR_RT_AICORE_EXCEPTION));
  }
}

class Barriers : public MoeExamples {
 protected:
  static EntryCall barrier(const CannRanks& ranks, const MoeOperand& x) {
    EntryCall call;
    call.op = "aclnnDistributeBarrierV2";
    call.group = ranks.name();
    call.moe.ep_world_size = ranks.size();
    call.tensors["xRef"] = x.describe();
    return call;
  }
  const MoeOperand x_{ACL_FLOAT16, {0, 3}, true};
};

TEST_F(Barriers, NobodyLeavesBeforeAllHaveCome) {
  const CannRanks ranks(4), others(4), more(4);  // the same members
  std::atomic<int> arrived{0};
  ranks.run([&](int rank, aclrtStream stream) {
    int calls = 0;
    for (int round = 1; round <= 20; ++round)
      for (const CannRanks* group : {&ranks, &others, &more}) {
        EntryCall call = barrier(*group, x_);
        if (round % 2) call.op = "aclnnDistributeBarrier";
        MoeOperand limit(ACL_INT32, {1});
        limit.set(0, round - 10);  // none at first
        if (round < 10) call.tensors["timeOut"] = limit.describe();
        arrived.fetch_add(1);
        ASSERT_EQ(call_and_wait(call, stream), ACLNN_SUCCESS) << rank << text();
        EXPECT_GE(arrived.load(), 4 * ++calls);
      }
  });
  EXPECT_EQ(arrived.load(), 4 * 60);
}

// The limit is what its memory says when the task runs.
TEST_F(Barriers, ALimitOfItsOwn) {
  const CannRanks ranks(2, {.exec_timeout_s = 60});
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  MoeOperand limit(ACL_INT32, {1}), written(ACL_INT32, {1});
  limit.set(0, -1);
  written.set(0, 20000);
  EntryCall call = barrier(ranks, x_);
  call.tensors["timeOut"] = limit.describe();
  ASSERT_EQ(aclrtMemcpyAsync(call.tensors["timeOut"].data, 4, written.describe().data, 4,
                             ACL_MEMCPY_DEVICE_TO_DEVICE, stream),
            ACL_SUCCESS);
  EXPECT_EQ(call_and_wait(call, stream), ACL_ERROR_RT_AICORE_TIMEOUT);
  EXPECT_NE(text().find("0.02 s (of this call)"), std::string::npos);
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
}

TEST_F(Barriers, ElasticGroupsAreRefused) {
  const CannRanks ranks(2);
  MoeOperand elastic(ACL_INT32, {8});
  elastic.set(0, 1);
  ranks.run([&](int rank, aclrtStream stream) {
    EntryCall call = barrier(ranks, x_);
    if (rank == 1) call.tensors["elasticInfo"] = elastic.describe();
    EXPECT_EQ(call_and_wait(call, stream), ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_NE(text().find("lost ranks"), std::string::npos);
  });
}

TEST_F(Barriers, ResetIsABarrierAndThenAllWorks) {
  const MoeWorld world = {.ep = 16, .experts = 16, .k = 1, .tokens = {1}};
  const MoeGroups groups(world);
  const MoeCase c(world, 1);
  MoeOperand alive(ACL_INT32, {16});
  for (std::int64_t i = 0; i < 16; ++i) alive.set(i, 1);
  const auto reset = [&](int device, std::int64_t sync) {
    EntryCall call;
    call.op = "aclnnMoeDistributeBufferReset";
    call.group = groups.ep(device);
    call.moe.ep_world_size = 16;
    call.moe.need_sync = sync;
    call.tensors["elasticInfo"] = alive.describe();
    return call;
  };
  groups.run([&](int device, aclrtStream stream) {
    if (device % 3 == 0) {
      EXPECT_EQ(call_and_wait(reset(device, 0), stream), ACLNN_SUCCESS);
    }
    EXPECT_EQ(call_and_wait(reset(device, 1), stream), ACLNN_SUCCESS) << text();
    EXPECT_EQ(call_and_wait(c.dispatch(device, groups.ep(device), ""), stream), ACLNN_SUCCESS)
        << text();
  });
  for (int device = 0; device < 16; ++device) c.check_dispatch(device);
  alive.set(3, 0);
  groups.run([&](int device, aclrtStream stream) {
    EXPECT_EQ(call_and_wait(reset(device, 1), stream), ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_NE(text().find("0 for rank 3"), std::string::npos);
  });
}

}  // namespace
}  // namespace weft::cann
