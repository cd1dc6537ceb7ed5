// SPDX-License-Identifier: Apache-2.0
// Ranks that die, leave, come late or do something else; and nothing left after a thousand
// communicators.
#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "check.h"
#include "communicator.h"
#include "hccl_ranks.h"

namespace weft::cann {
namespace {

using testing::CollectiveCase;
using testing::CollectiveMemory;
using testing::Function;
using testing::monotonic_ns;
using testing::Processes;
using testing::Rank;

class HcclFaults : public RuntimeTest {};

HcclResult all_reduce(std::vector<float>& values, HcclComm comm, aclrtStream stream) {
  return HcclAllReduce(values.data(), values.data(), values.size(), HCCL_DATA_TYPE_FP32,
                       HCCL_REDUCE_SUM, comm, stream);
}

HcclResult async_error(HcclComm comm) {
  HcclResult error = HCCL_E_INTERNAL;
  EXPECT_EQ(HcclGetCommAsyncError(comm, &error), HCCL_SUCCESS) << messages();
  return error;
}

TEST(HcclDeaths, TheOthersGetATaskErrorWithinASecond) {
  constexpr int kRanks = 4, kVictim = 2;
  const RootInfoPipes pipes(kRanks);
  Processes processes(kRanks, in_process(pipes, [](Rank& rank, Device& device, HcclComm comm) {
                        std::vector<float> values(1000, 1);
                        EXPECT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
                        EXPECT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
                        rank.tell("ready");
                        if (rank.rank == kVictim) rank.await_go();  // never
                        EXPECT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
                        EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICPU_EXCEPTION);
                        const std::string said = messages();
                        EXPECT_NE(said.find("rank 2"), std::string::npos) << said;
                        rank.tell("knows at " + std::to_string(monotonic_ns()));
                        EXPECT_EQ(async_error(comm), HCCL_E_REMOTE);
                        // And every later call at once.
                        EXPECT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
                        EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICPU_EXCEPTION);
                        EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
                      }));
  for (int rank = 0; rank < kRanks; ++rank) ASSERT_TRUE(processes.await(rank, "ready"));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until they wait
  const std::int64_t killed = processes.kill(kVictim);
  for (int rank = 0; rank < kRanks; ++rank) {
    const auto outcome = processes.finish(rank);
    if (rank == kVictim) continue;
    EXPECT_TRUE(outcome.clean()) << "rank " << rank;
    EXPECT_LT(outcome.finished_ns - killed, 1'000'000'000) << "rank " << rank;
  }
}

TEST(HcclDeaths, ARankThatDiesWhileAllJoinIsMissed) {
  const RootInfoPipes pipes(3);
  Processes processes(3, [&](Rank& rank) -> std::string {
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    EXPECT_EQ(aclrtSetDevice(rank.rank), ACL_SUCCESS);
    setenv("HCCL_CONNECT_TIMEOUT", "0.5", 1);
    const HcclRootInfo info = pipes.exchange(rank.rank);
    if (rank.rank == 1) return {};  // never joins
    HcclComm comm = nullptr;
    EXPECT_EQ(HcclCommInitRootInfo(3, &info, static_cast<uint32_t>(rank.rank), &comm),
              HCCL_E_TIMEOUT);
    const std::string said = messages();
    EXPECT_NE(said.find("1"), std::string::npos) << said;
    return {};
  });
  for (const auto& outcome : processes.finish_all()) EXPECT_TRUE(outcome.clean()) << outcome.text;
}

// Each rank leaves, its process even ends, as soon as it has its result; the last is far behind.
TEST(HcclDepartures, ProcessesEndWhenTheirStreamIsSynchronised) {
  constexpr int kRanks = 3;
  for (int round = 0; round < 10; ++round) {
    const RootInfoPipes pipes(kRanks);
    testing::run_ranks(kRanks, in_process(pipes, [&](Rank& rank, Device& device, HcclComm comm) {
                         const CollectiveCase c{Function::kAllReduce, DType::kFloat16,
                                                ReduceOp::kSum, kRanks, 1 << 20};
                         CollectiveMemory memory(c, rank.rank);
                         if (rank.rank == round % kRanks)
                           std::this_thread::sleep_for(std::chrono::milliseconds(5));
                         EXPECT_EQ(call(c, rank.rank, memory, comm, device.stream), HCCL_SUCCESS);
                         EXPECT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
                         EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
                         memory.give_up();
                         memory.expect_correct();
                       }));
  }
}

TEST_F(HcclFaults, DevicesLeaveWhenTheirStreamIsSynchronised) {
  constexpr int kRanks = 4;
  for (int round = 0; round < 5 * testing::kFunctions; ++round) {
    CollectiveCase c{static_cast<Function>(round % testing::kFunctions), DType::kFloat32,
                     ReduceOp::kMax, kRanks, 20'000};
    c.root = round % kRanks;
    c.seed = static_cast<std::uint64_t>(round) + 1;
    on_devices(kRanks, [&](int rank, Device& device, HcclComm comm) {  // destroys after the body
      CollectiveMemory memory(c, rank);
      if (rank == round % 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_EQ(call(c, rank, memory, comm, device.stream), HCCL_SUCCESS) << messages();
      ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << c.text() << messages();
      memory.give_up();
      memory.expect_correct();
    });
  }
}

TEST_F(HcclFaults, ARankThatLeavesEarlyIsLost) {
  const auto comms = init_all({0, 1});
  Device device(0);
  std::vector<float> values(10, 1);
  ASSERT_EQ(all_reduce(values, comms[0], device.stream), HCCL_SUCCESS);
  ASSERT_EQ(HcclCommDestroy(comms[1]), HCCL_SUCCESS) << text();
  EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICPU_EXCEPTION);
  EXPECT_NE(text().find("left the group"), std::string::npos);
  EXPECT_EQ(async_error(comms[0]), HCCL_E_REMOTE);
  ASSERT_EQ(HcclCommDestroy(comms[0]), HCCL_SUCCESS) << text();
}

TEST_F(HcclFaults, ARankThatNeverCallsIsATimeOut) {
  HcclRootInfo info{};
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  ASSERT_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
  HcclCommConfig config;
  HcclCommConfigInit(&config);
  config.hcclExecTimeOut = 1;
  std::atomic<bool> over{false};
  std::thread silent([&] {
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    HcclComm comm = nullptr;
    ASSERT_EQ(HcclCommInitRootInfoConfig(2, &info, 1, &config, &comm), HCCL_SUCCESS);
    while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(async_error(comm), HCCL_E_TIMEOUT);  // all ranks know it
    EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
  });
  HcclComm comm = nullptr;
  ASSERT_EQ(HcclCommInitRootInfoConfig(2, &info, 0, &config, &comm), HCCL_SUCCESS) << text();
  Device device(0);
  std::vector<float> values(10, 1);
  const std::int64_t begin = monotonic_ns();
  ASSERT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
  EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICORE_TIMEOUT);
  const double seconds = static_cast<double>(monotonic_ns() - begin) * 1e-9;
  EXPECT_GT(seconds, 0.9);
  EXPECT_LT(seconds, 5);
  EXPECT_EQ(async_error(comm), HCCL_E_TIMEOUT);
  over = true;
  silent.join();
  EXPECT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << text();
}

TEST_F(HcclFaults, DifferentCallsAreAMismatchOnAllRanks) {
  std::array<std::string, 3> said;
  on_devices(3, [&](int rank, Device& device, HcclComm comm) {
    std::vector<float> values(rank == 2 ? 11 : 10, 1);
    ASSERT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
    EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICORE_EXCEPTION);
    said[static_cast<std::size_t>(rank)] = messages();
    EXPECT_EQ(async_error(comm), HCCL_E_PARA);
    EXPECT_EQ(values[0], 1);  // untouched
  });
  EXPECT_NE(said[0].find("count is 10"), std::string::npos) << said[0];
  EXPECT_NE(said[0].find("11"), std::string::npos) << said[0];
  EXPECT_EQ(said[0], said[1]);
  EXPECT_EQ(said[0], said[2]);
}

// A task that fails before its call has begun leaves no peer waiting.
TEST_F(HcclFaults, AFailedTaskEndsTheWaitOfItsPeers) {
  on_devices(2, [&](int rank, Device& device, HcclComm comm) {
    std::vector<float> values(10, 1);
    if (rank == 0) {
      ASSERT_EQ(all_reduce(values, comm, device.stream), HCCL_SUCCESS);
    } else {
      const auto work = [](Context&, Group&) {
        return Status(StatusCode::kOutOfMemory, "no memory left");
      };
      ASSERT_TRUE(
          Communicator::submit(Communicators::instance().find(comm), stream_of(device.stream), work)
              .ok());
    }
    EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_MEMORY_ALLOCATION);
    EXPECT_NE(messages().find("no memory left"), std::string::npos);
    EXPECT_EQ(async_error(comm), HCCL_E_MEMORY);
  });
}

TEST_F(HcclFaults, StoppedContextsDropCollectives) {
  on_devices(2, [&](int rank, Device& device, HcclComm comm) {
    std::vector<float> values(rank == 0 ? 11 : 10, 1);
    ASSERT_EQ(aclrtSetStreamFailureMode(device.stream, ACL_STOP_ON_FAILURE), ACL_SUCCESS);
    for (int i = 0; i < 3; ++i) {
      const HcclResult result = all_reduce(values, comm, device.stream);
      EXPECT_TRUE(result == HCCL_SUCCESS || (i > 0 && result == HCCL_E_RUNTIME)) << messages();
    }
    EXPECT_EQ(device.synchronise(), ACL_ERROR_RT_AICORE_EXCEPTION);
    EXPECT_EQ(all_reduce(values, comm, device.stream), HCCL_E_RUNTIME);
  });
}

struct Footprint {
  std::size_t files, threads, mappings, communicators;
  bool operator==(const Footprint&) const = default;
};

std::size_t entries(const char* folder) {
  const std::filesystem::directory_iterator list(folder);
  return static_cast<std::size_t>(std::distance(begin(list), end(list)));
}

Footprint footprint() {
  std::ifstream maps("/proc/self/maps");
  std::size_t windows = 0;
  for (std::string line; std::getline(maps, line);)
    windows += line.find("memfd:") != std::string::npos;
  return {entries("/proc/self/fd"), entries("/proc/self/task"), windows,
          Communicators::instance().size()};
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsKept = true;  // sanitizers do so with what is freed
#else
constexpr bool kMemoryIsKept = false;
#endif

std::size_t resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  return 0;
}

TEST_F(HcclFaults, AThousandCommunicatorsLeaveNothing) {
  Footprint first{};
  std::size_t resident = 0;
  Device device(0);
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  aclrtStream other = nullptr;
  ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
  const auto sum = [](HcclComm comm, int rank, aclrtStream stream, std::vector<float>& values) {
    ASSERT_EQ(aclrtSetDevice(rank), ACL_SUCCESS);
    ASSERT_EQ(all_reduce(values, comm, stream), HCCL_SUCCESS) << messages();
    ASSERT_EQ(aclrtResetDevice(rank), ACL_SUCCESS);
  };
  for (int i = 0; i < 1000; ++i) {
    HcclComm comms[2];
    int32_t devices[] = {0, 1};
    if (i % 2) {
      ASSERT_EQ(HcclCommInitAll(2, devices, comms), HCCL_SUCCESS) << messages();
    } else {
      HcclRootInfo info{};
      ASSERT_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS) << messages();
      std::thread peer([&] {
        ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
        ASSERT_EQ(HcclCommInitRootInfo(2, &info, 0, &comms[0]), HCCL_SUCCESS) << messages();
        ASSERT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
      });
      EXPECT_EQ(HcclCommInitRootInfo(2, &info, 1, &comms[1]), HCCL_SUCCESS) << messages();
      peer.join();
    }
    std::vector<float> a(1000, 1), b(1000, 2);
    sum(comms[0], 0, device.stream, a);
    sum(comms[1], 1, other, b);
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
    ASSERT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
    ASSERT_EQ(aclrtSynchronizeStream(other), ACL_SUCCESS) << messages();
    ASSERT_EQ(aclrtResetDevice(1), ACL_SUCCESS);
    ASSERT_EQ(a, std::vector<float>(1000, 3));
    for (HcclComm comm : comms) ASSERT_EQ(HcclCommDestroy(comm), HCCL_SUCCESS) << messages();
    if (i == 99) {
      first = footprint();
      resident = resident_kb();
    }
  }
  const Footprint last = footprint();
  EXPECT_EQ(last.files, first.files);
  EXPECT_EQ(last.threads, first.threads);
  EXPECT_EQ(last.mappings, 0U);
  EXPECT_EQ(last.communicators, 0U);
  if (!kMemoryIsKept) {
    EXPECT_LT(resident_kb(), resident + 2048);
  }
  ASSERT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
  ASSERT_EQ(aclrtResetDevice(1), ACL_SUCCESS);
}

}  // namespace
}  // namespace weft::cann
