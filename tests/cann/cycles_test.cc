// SPDX-License-Identifier: Apache-2.0
// Nothing is left after a program's life, and many devices at once come to an end.
#include <array>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include "aclnn/aclnn_base.h"
#include "check.h"
#include "executor.h"

namespace weft::cann {
namespace {

std::size_t threads_of_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(Cycles, AThousandLivesLeaveNothing) {
  std::size_t threads = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
    ASSERT_EQ(aclrtSetDevice(i % 16), ACL_SUCCESS);
    aclrtContext context = nullptr;
    aclrtStream stream = nullptr;
    aclrtEvent event = nullptr;
    void* memory = nullptr;
    ASSERT_EQ(aclrtCreateContext(&context, (i + 1) % 16), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
    ASSERT_EQ(aclrtMalloc(&memory, 100, ACL_MEM_MALLOC_HUGE_FIRST), ACL_SUCCESS);
    ASSERT_EQ(aclrtMemsetAsync(memory, 100, 1, 100, stream), ACL_SUCCESS);
    ASSERT_EQ(aclrtRecordEvent(event, stream), ACL_SUCCESS);
    if (i % 2 == 0) {  // every other program cleans up
      ASSERT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
      ASSERT_EQ(aclrtFree(memory), ACL_SUCCESS);
      ASSERT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
      ASSERT_EQ(aclrtDestroyContext(context), ACL_SUCCESS);
      ASSERT_EQ(aclrtResetDevice(i % 16), ACL_SUCCESS);
    }
    ASSERT_EQ(aclFinalize(), ACL_SUCCESS);
    const Runtime::Counts left = Runtime::instance().counts();
    ASSERT_EQ(left.contexts + left.streams + left.events + left.device_blocks + left.host_blocks,
              0u);
    if (i == 0) threads = threads_of_process();  // a sanitizer's own thread comes with the first
  }
  EXPECT_EQ(threads_of_process(), threads);
}

// Each device adds up a ring of numbers with its neighbours, by events and callbacks, on two
// streams: any lost wake-up or shared thread would hang.
TEST(Cycles, SixteenDevicesWithTwoStreamsFinish) {
  constexpr int kDevices = 16, kRounds = 50;
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  std::array<std::atomic<int>, kDevices> arrived{};
  std::vector<std::thread> ranks;
  for (int device = 0; device < kDevices; ++device)
    ranks.emplace_back([device, &arrived] {
      ASSERT_EQ(aclrtSetDevice(device), ACL_SUCCESS);
      std::array<aclrtStream, 2> streams{};
      aclrtEvent event = nullptr;
      for (aclrtStream& stream : streams) ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
      ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
      for (int round = 1; round <= kRounds; ++round) {
        // The task of a collective: it comes, then waits for all peers.
        ASSERT_TRUE(stream_of(streams[0])
                        .submit([device, round, &arrived] {
                          arrived[device] = round;
                          for (const std::atomic<int>& peer : arrived)
                            while (peer < round) std::this_thread::yield();
                          return Status();
                        })
                        .ok());
        ASSERT_EQ(aclrtRecordEvent(event, streams[0]), ACL_SUCCESS);
        ASSERT_EQ(aclrtStreamWaitEvent(streams[1], event), ACL_SUCCESS);
      }
      for (aclrtStream stream : streams) ASSERT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
      ASSERT_EQ(aclrtSynchronizeDevice(), ACL_SUCCESS);
      ASSERT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);
      for (aclrtStream stream : streams) ASSERT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
      ASSERT_EQ(aclrtResetDevice(device), ACL_SUCCESS);
    });
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
}

TEST(Cycles, DevicesDivideTheMachine) {
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  const Result<Context> alone = Runtime::instance().make_context(1);
  for (int device = 1; device < 16; ++device) ASSERT_EQ(aclrtSetDevice(device), ACL_SUCCESS);
  const Result<Context> shared = Runtime::instance().make_context(1);
  ASSERT_TRUE(alone.ok() && shared.ok());
  EXPECT_EQ(shared->threads(), std::max(1, alone->threads() / 16));
  int threads = 0;
  EXPECT_TRUE(Runtime::instance()
                  .current_device()
                  ->run_local([&](Context& context, PlanPool&) {
                    threads = context.threads();
                    return Status();
                  })
                  .ok());
  EXPECT_EQ(threads, shared->threads());
  ASSERT_EQ(aclFinalize(), ACL_SUCCESS);
  EXPECT_EQ(Runtime::instance().current_device(), nullptr);
}

}  // namespace
}  // namespace weft::cann
