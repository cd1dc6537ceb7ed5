// SPDX-License-Identifier: Apache-2.0
// Executors of the collective operators, what a call needs to live on, and what happens when a rank
// is lost.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "aclnn_calls.h"

namespace weft::cann {
namespace {

constexpr int kOk = ACLNN_SUCCESS;
constexpr int kRows = 4, kDepth = 8, kColumns = 16;

class CallsOfRanks : public RuntimeTest {};

/// x1 of ones and x2 of halves: every element of the output is ranks · kDepth / 2.
struct Data {
  std::vector<std::uint16_t> x1 = std::vector<std::uint16_t>(kRows * kDepth, 0x3c00);
  std::vector<std::uint16_t> x2 = std::vector<std::uint16_t>(kDepth * kColumns, 0x3800);
  std::vector<std::uint16_t> output = std::vector<std::uint16_t>(kRows * kColumns);

  EntryCall call(const char* group, std::int64_t rows = kRows) {
    EntryCall c;
    c.op = "aclnnMatmulAllReduce";
    c.group = group;
    c.tensors["x1"] = of(x1, {rows, kDepth});
    c.tensors["x2"] = of(x2, {kDepth, kColumns});
    c.tensors["output"] = of(output, {rows, kColumns});
    return c;
  }
  /// Half precision of a small multiple of four.
  bool is(int ranks) const {
    const std::uint16_t wanted = aclFloatToFloat16(static_cast<float>(ranks * kDepth) / 2);
    for (std::uint16_t value : output)
      if (value != wanted) return false;
    return true;
  }

  static Described of(std::vector<std::uint16_t>& values, Dims dims) {
    Described d(ACL_FLOAT16, std::move(dims));
    d.data = values.data();
    return d;
  }
};

TEST_F(CallsOfRanks, AnExecutorIsForOneCallOfItsOperator) {
  const CannRanks ranks(1);
  ranks.run([&](int, aclrtStream stream) {
    Data data;
    const EntryCall call = data.call(ranks.name());
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
    EXPECT_GT(size, 0u);
    std::vector<std::byte> workspace(size);
    EXPECT_EQ(aclSetAclOpExecutorRepeatable(executor), ACLNN_ERR_PARAM_INVALID);
    for (const std::string& op : entry_points()) {
      if (op == call.op) continue;
      const bool ffn = op.starts_with("aclnnFFN");  // has one code for all
      EXPECT_EQ(second_phase(op, workspace.data(), size, executor, stream),
                ffn ? ACLNN_ERR_INNER : ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR)
          << op;
    }
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, stream), kOk) << text();
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, stream),
              ACLNN_ERR_INNER_NULLPTR);
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
    EXPECT_TRUE(data.is(1));
    // A second phase that fails uses it up, too.
    ASSERT_EQ(first_phase(call, &size, &executor), kOk);
    EXPECT_EQ(second_phase(call.op, nullptr, size, executor, stream), ACLNN_ERR_PARAM_NULLPTR);
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, stream),
              ACLNN_ERR_INNER_NULLPTR);
    ASSERT_EQ(first_phase(call, &size, &executor), kOk);
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, executor, &size),
              ACLNN_ERR_RUNTIME_ERROR);
    ASSERT_EQ(first_phase(call, &size, &executor), kOk);
    EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);  // without a call
    EXPECT_EQ(second_phase(call.op, workspace.data(), size, nullptr, stream),
              ACLNN_ERR_INNER_NULLPTR);
  });
}

// The test's first_phase() destroys the tensors when it returns, so every call here shows that the
// second phase needs none of them. The communicator may go as well.
TEST_F(CallsOfRanks, ACallOwnsWhatItNeeds) {
  CannRanks ranks(4);
  ranks.run([&](int rank, aclrtStream) {
    Data data;
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(data.call(ranks.name()), &size, &executor), kOk) << text();
    ranks.lose(rank);
    Data unused;
    EXPECT_EQ(first_phase(unused.call(ranks.name()), &size, &executor),
              ACLNN_ERR_INNER_TILING_ERROR);
  });
  CannRanks again(4);
  again.run([&](int rank, aclrtStream stream) {
    Data data;
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    ASSERT_EQ(first_phase(data.call(again.name()), &size, &executor), kOk) << text();
    std::vector<std::byte> workspace(size);
    EXPECT_EQ(second_phase("aclnnMatmulAllReduce", workspace.data(), size, executor, stream), kOk);
    again.lose(rank);  // while it runs
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS) << text();
    EXPECT_TRUE(data.is(4));
  });
}

// Plans are made while work of the same communicator runs, from several threads and streams of each
// device. The work runs in the order in which it was submitted, the same on every rank.
TEST_F(CallsOfRanks, PhasesOverlap) {
  constexpr int kRanks = 2, kCalls = 40;
  const CannRanks ranks(kRanks, {.exec_timeout_s = 60});
  ranks.run([&](int rank, aclrtStream stream) {
    std::atomic<bool> over{false};
    std::thread planner([&] {  // first phases that are never followed by a second one
      ASSERT_EQ(aclrtSetDevice(rank), ACL_SUCCESS);
      Data data;
      for (int i = 0; !over || i < 20; ++i) {
        uint64_t size = 0;
        aclOpExecutor* executor = nullptr;
        EXPECT_EQ(first_phase(data.call(ranks.name(), 1 + i % kRows), &size, &executor), kOk);
        EXPECT_EQ(aclDestroyAclOpExecutor(executor), kOk);
      }
    });
    aclrtStream other = nullptr;
    ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
    std::vector<Data> data(kCalls);
    std::vector<std::byte> workspace(1 << 10);
    for (int i = 0; i < kCalls; ++i) {
      uint64_t size = 0;
      aclOpExecutor* executor = nullptr;
      ASSERT_EQ(first_phase(data[static_cast<std::size_t>(i)].call(ranks.name()), &size, &executor),
                kOk);
      ASSERT_LE(size, workspace.size());
      EXPECT_EQ(second_phase("aclnnMatmulAllReduce", workspace.data(), size, executor,
                             i % 3 ? stream : other),
                kOk);
    }
    EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(other), ACL_SUCCESS);
    over = true;
    planner.join();
    for (const Data& each : data) EXPECT_TRUE(each.is(kRanks));
    EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
  });
}

// A plan is kept for the next call of its layout, and for no other; more layouts than are kept.
TEST_F(CallsOfRanks, KeptPlansFitTheirCalls) {
  constexpr int kLayouts = 12;
  const CannRanks ranks(2, {.exec_timeout_s = 60});
  ranks.run([&](int, aclrtStream stream) {
    for (int i = 0; i < 4 * kLayouts; ++i) {
      Data data;  // other memory than before
      const int rows = 1 + i % 3, columns = 1 + i % kLayouts;
      EntryCall call = data.call(ranks.name(), rows);
      call.tensors["x2"].dims[1] = call.tensors["output"].dims[1] = columns;
      if (i % 2) call.tensors["x3"] = call.tensors["output"];  // zeros
      if (i % 2) call.op = "aclnnMatmulAllReduceV2";
      ASSERT_EQ(call_and_wait(call, stream), kOk) << text();
      data.output.resize(static_cast<std::size_t>(rows * columns));
      ASSERT_TRUE(data.is(2)) << i;
    }
    std::vector<std::uint16_t> normed[3];
    for (int i = 0; i < 3; ++i) {
      Data data;
      std::vector<std::uint16_t> zeros(kRows * kColumns), y(kRows * kColumns);
      std::vector<std::uint16_t> gamma(kColumns, 0x3c00);
      normed[i].resize(kRows * kColumns);
      EntryCall call = data.call(ranks.name());
      call.op = "aclnnMatmulAllReduceAddRmsNorm";
      call.epsilon = i == 1 ? 0.9 : 1e-6;
      call.tensors["residual"] = Data::of(zeros, {1, kRows, kColumns});
      call.tensors["gamma"] = Data::of(gamma, {kColumns});
      call.tensors["y"] = Data::of(y, {1, kRows, kColumns});
      call.tensors["normOut"] = Data::of(normed[i], {1, kRows, kColumns});
      ASSERT_EQ(call_and_wait(call, stream), kOk) << text();
    }
    EXPECT_EQ(normed[0], normed[2]);
    EXPECT_NE(normed[0], normed[1]);
  });
}

TEST_F(CallsOfRanks, ARankThatIsGoneIsReportedAndStopsTheContext) {
  CannRanks ranks(2, {.exec_timeout_s = 20});
  ranks.lose(1);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  aclrtStream stream = nullptr, other = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
  Data data;
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(first_phase(data.call(ranks.name()), &size, &executor), kOk) << text();
  std::vector<std::byte> workspace(size);
  ASSERT_EQ(second_phase("aclnnMatmulAllReduce", workspace.data(), size, executor, stream), kOk);
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_AICPU_EXCEPTION);
  EXPECT_NE(text().find("rank 1"), std::string::npos);
  // streamMode 1: nothing else runs in this context.
  ASSERT_EQ(first_phase(data.call(ranks.name()), &size, &executor), kOk) << text();
  EXPECT_EQ(second_phase("aclnnMatmulAllReduce", workspace.data(), size, executor, other),
            ACLNN_ERR_RUNTIME_ERROR);
}

TEST_F(CallsOfRanks, RanksThatDisagreeFail) {
  const CannRanks ranks(2, {.exec_timeout_s = 20});
  ranks.run([&](int rank, aclrtStream stream) {
    Data data;
    EXPECT_EQ(call_and_wait(data.call(ranks.name(), rank + 1), stream),
              ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_THAT(text(), ::testing::HasSubstr("m is 1 on rank 0 but 2 on rank 1"));
  });
}

TEST_F(CallsOfRanks, EmptyCallsSubmitNothing) {
  const CannRanks ranks(2);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  EntryCall call;
  call.op = "aclnnMatmulReduceScatter";
  call.group = ranks.name();
  call.tensors["x1"] = Described(ACL_FLOAT16, {0, 256});
  call.tensors["x2"] = Described(ACL_FLOAT16, {256, 8});
  call.tensors["output"] = Described(ACL_FLOAT16, {0, 8});
  uint64_t size = 1;
  aclOpExecutor* executor = nullptr;
  ASSERT_EQ(first_phase(call, &size, &executor), kOk) << text();
  EXPECT_EQ(size, 0u);
  // The other rank makes no call, and yet nobody waits.
  EXPECT_EQ(second_phase(call.op, nullptr, 0, executor, stream), kOk) << text();
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
}

}  // namespace
}  // namespace weft::cann
