// SPDX-License-Identifier: Apache-2.0
// Every collective of HCCL, on devices of threads and of processes, bit for bit; messages; order.
#include <atomic>
#include <cstring>
#include <numeric>

#include "check.h"
#include "hccl_ranks.h"

namespace weft::cann {
namespace {

using testing::CollectiveCase;
using testing::CollectiveMemory;
using testing::Function;
using testing::Rank;

const std::vector<std::int64_t> kCounts = {0, 67};

class Hccl : public RuntimeTest {};
class HcclRanks : public RuntimeTest, public ::testing::WithParamInterface<int> {};

std::vector<int> first(int devices) {
  std::vector<int> list(static_cast<std::size_t>(devices));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

TEST_P(HcclRanks, EveryCollectiveIsExactOnDevices) {
  const int ranks = GetParam();
  const auto cases = all_kinds(ranks, kCounts);
  on_devices(ranks, [&](int rank, Device& device, HcclComm comm) {
    run_cases(cases, rank, comm, device.stream);
  });
}

TEST_P(HcclRanks, LargeBuffersAreExact) {
  const int ranks = GetParam();
  std::vector<CollectiveCase> cases;
  for (int i = 0; i < testing::kFunctions; ++i)
    cases.push_back({static_cast<Function>(i), i % 2 ? DType::kBFloat16 : DType::kFloat16,
                     ReduceOp::kSum, ranks, (1 << 19) / ranks + 13});
  on_devices(ranks, [&](int rank, Device& device, HcclComm comm) {
    run_cases(cases, rank, comm, device.stream);
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, HcclRanks, ::testing::Values(1, 2, 3, 8),
                         ::testing::PrintToStringParamName());

class HcclProcesses : public ::testing::TestWithParam<int> {};

TEST_P(HcclProcesses, EveryCollectiveIsExactByRootInfo) {
  const RootInfoPipes pipes(GetParam());
  const auto cases = all_kinds(GetParam(), kCounts);
  testing::run_ranks(GetParam(), in_process(pipes, [&](Rank& rank, Device& device, HcclComm comm) {
                       run_cases(cases, rank.rank, comm, device.stream);
                       EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
                     }));
}

TEST_P(HcclProcesses, EveryCollectiveIsExactByRankTable) {
  const RankTableFile table(RankTableFile::text(GetParam()));
  std::vector<CollectiveCase> cases;
  for (int i = 0; i < testing::kFunctions; ++i)
    cases.push_back({static_cast<Function>(i), DType::kFloat16, ReduceOp::kSum, GetParam(), 1237});
  testing::run_ranks(GetParam(), [&](Rank& rank) -> std::string {
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    Device device(rank.rank);
    for (int i = 0; i < 3; ++i) {  // the table serves again after its communicator has gone
      HcclComm comm = nullptr;
      EXPECT_EQ(HcclCommInitClusterInfo(table.path(), static_cast<uint32_t>(rank.rank), &comm),
                HCCL_SUCCESS)
          << messages();
      run_cases(cases, rank.rank, comm, device.stream);
      EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
    }
    return {};
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, HcclProcesses, ::testing::Values(1, 2, 3, 8),
                         ::testing::PrintToStringParamName());

// Calls must not wait for peers: this thread is all of them.
TEST_F(Hccl, OneThreadDrivesAllDevices) {
  constexpr int kRanks = 8;
  const auto cases = all_kinds(kRanks, {33});
  const auto comms = init_all(first(kRanks));
  std::vector<std::unique_ptr<Device>> devices;
  for (int rank = 0; rank < kRanks; ++rank) devices.push_back(std::make_unique<Device>(rank));
  for (const CollectiveCase& c : cases) {
    std::vector<std::unique_ptr<CollectiveMemory>> memories;
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto i = static_cast<std::size_t>(rank);
      memories.push_back(std::make_unique<CollectiveMemory>(c, rank));
      ASSERT_EQ(aclrtSetDevice(rank), ACL_SUCCESS);
      ASSERT_EQ(call(c, rank, *memories[i], comms[i], devices[i]->stream), HCCL_SUCCESS) << text();
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      ASSERT_EQ(aclrtSetDevice(rank), ACL_SUCCESS);
      ASSERT_EQ(devices[static_cast<std::size_t>(rank)]->synchronise(), ACL_SUCCESS) << text();
    }
    for (const auto& memory : memories) memory->expect_correct();
    for (int rank = 0; rank < kRanks; ++rank) ASSERT_EQ(aclrtResetDevice(rank), ACL_SUCCESS);
  }
  for (std::size_t i = kRanks; i-- > 0;) EXPECT_EQ(HcclCommDestroy(comms[i]), HCCL_SUCCESS);
}

// The ranks put the same calls into streams that differ, and none is waited for in between.
TEST_F(Hccl, TwoStreamsShareACommunicator) {
  constexpr int kRanks = 3, kCalls = 200;
  on_devices(kRanks, [&](int rank, Device& device, HcclComm comm) {
    aclrtStream other = nullptr;
    ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
    std::vector<std::vector<int64_t>> values(kCalls, std::vector<int64_t>(5, rank));
    for (int i = 0; i < kCalls; ++i) {
      std::vector<int64_t>& value = values[static_cast<std::size_t>(i)];
      value[0] = i + rank;
      ASSERT_EQ(HcclAllReduce(value.data(), value.data(), value.size(), HCCL_DATA_TYPE_INT64,
                              HCCL_REDUCE_SUM, comm, (i + rank) % 3 ? device.stream : other),
                HCCL_SUCCESS)
          << messages();
    }
    ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
    ASSERT_EQ(aclrtSynchronizeStream(other), ACL_SUCCESS) << messages();
    for (int i = 0; i < kCalls; ++i)
      EXPECT_EQ(values[static_cast<std::size_t>(i)],
                (std::vector<int64_t>{kRanks * i + 3, 3, 3, 3, 3}));
    ASSERT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
  });
}

TEST_F(Hccl, MessagesGoAroundARing) {
  constexpr int kRanks = 4;
  constexpr std::size_t kElements = 300'001;
  on_devices(kRanks, [&](int rank, Device& device, HcclComm comm) {
    const auto right = static_cast<uint32_t>((rank + 1) % kRanks);
    const auto left = static_cast<uint32_t>((rank + kRanks - 1) % kRanks);
    std::vector<float> mine(kElements, static_cast<float>(rank)), got(kElements);
    const auto send = [&] {
      return HcclSend(mine.data(), kElements, HCCL_DATA_TYPE_FP32, right, comm, device.stream);
    };
    const auto recv = [&] {
      return HcclRecv(got.data(), kElements, HCCL_DATA_TYPE_FP32, left, comm, device.stream);
    };
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(rank == 0 ? recv() : send(), HCCL_SUCCESS) << messages();
      EXPECT_EQ(rank == 0 ? send() : recv(), HCCL_SUCCESS) << messages();
      ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
      EXPECT_EQ(got, std::vector<float>(kElements, static_cast<float>(left)));
      std::fill(got.begin(), got.end(), -1.0F);
    }
  });
}

// Everybody sends first, also to itself and messages of nothing: only together can they go.
TEST_F(Hccl, ABatchOfMessagesGoesAtOnce) {
  constexpr int kRanks = 3;
  on_devices(kRanks, [&](int rank, Device& device, HcclComm comm) {
    std::vector<int16_t> out(kRanks * 100), in(kRanks * 100, -1), expected(kRanks * 100, -1);
    std::vector<HcclSendRecvItem> items;
    for (int peer = 0; peer < kRanks; ++peer) {
      const auto count = static_cast<uint64_t>(30 * ((rank + peer) % kRanks));
      for (uint64_t i = 0; i < count; ++i) {
        out[static_cast<std::size_t>(peer) * 100 + i] = static_cast<int16_t>(rank * 1000 + peer);
        expected[static_cast<std::size_t>(peer) * 100 + i] =
            static_cast<int16_t>(peer * 1000 + rank);
      }
      items.push_back({HCCL_SEND, out.data() + peer * 100, count, HCCL_DATA_TYPE_INT16,
                       static_cast<uint32_t>(peer)});
      items.push_back({HCCL_RECV, in.data() + peer * 100, count, HCCL_DATA_TYPE_INT16,
                       static_cast<uint32_t>(peer)});
    }
    ASSERT_EQ(
        HcclBatchSendRecv(items.data(), static_cast<uint32_t>(items.size()), comm, device.stream),
        HCCL_SUCCESS)
        << messages();
    std::memset(static_cast<void*>(items.data()), 0xff, items.size() * sizeof items[0]);
    ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
    EXPECT_EQ(in, expected);
    ASSERT_EQ(HcclBatchSendRecv(nullptr, 0, comm, device.stream), HCCL_SUCCESS) << messages();
    ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
  });
}

TEST_F(Hccl, NothingPassesABarrier) {
  constexpr int kRanks = 8, kRounds = 20;
  std::atomic<int> before{0}, wrong{0};
  struct Counts {
    std::atomic<int>&before, &wrong;
    std::atomic<int> round{0};
  };
  std::vector<std::unique_ptr<Counts>> counts;
  for (int i = 0; i < kRanks; ++i) counts.emplace_back(new Counts{before, wrong});
  on_devices(kRanks, [&](int rank, Device& device, HcclComm comm) {
    Counts* const mine = counts[static_cast<std::size_t>(rank)].get();
    for (int round = 0; round < kRounds; ++round) {
      ASSERT_EQ(aclrtLaunchHostFunc(
                    device.stream, [](void* to) { ++static_cast<Counts*>(to)->before; }, mine),
                ACL_SUCCESS);
      ASSERT_EQ(HcclBarrier(comm, device.stream), HCCL_SUCCESS) << messages();
      ASSERT_EQ(aclrtLaunchHostFunc(
                    device.stream,
                    [](void* to) {
                      auto& all = *static_cast<Counts*>(to);
                      if (all.before < ++all.round * kRanks) ++all.wrong;
                    },
                    mine),
                ACL_SUCCESS);
    }
    ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(before, kRanks * kRounds);
}

}  // namespace
}  // namespace weft::cann
