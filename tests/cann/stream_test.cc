// SPDX-License-Identifier: Apache-2.0
// Streams, events, asynchronous errors, callbacks.
#include <pthread.h>

#include <thread>
#include <vector>

#include "check.h"

namespace weft::cann {
namespace {

class StreamTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    ASSERT_EQ(aclrtCreateStream(&stream_), ACL_SUCCESS);
  }
  /// A task that fails as an operator does.
  void fail_in(aclrtStream stream, OnFailure on_failure = OnFailure::kStreamDecides) {
    const Error error = stream_of(stream).submit(
        [] { return Status(StatusCode::kTimeout, "rank 3 did not come"); }, on_failure);
    EXPECT_TRUE(error.ok()) << error.message;
  }
  void count_in(aclrtStream stream, aclError expected = ACL_SUCCESS) {
    EXPECT_EQ(aclrtLaunchHostFunc(
                  stream, [](void* count) { ++*static_cast<int*>(count); }, &count_),
              expected);
  }
  aclrtStream stream_ = nullptr;
  int count_ = 0;
};

TEST_F(StreamTest, RunsInOrderAndCallsReturnAtOnce) {
  Gate gate;
  std::vector<int> order;
  ASSERT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, &gate), ACL_SUCCESS);
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(stream_of(stream_)
                    .submit([&order, i] {
                      order.push_back(i);
                      return Status();
                    })
                    .ok());
  aclrtStreamStatus status = ACL_STREAM_STATUS_COMPLETE;
  EXPECT_EQ(aclrtStreamQuery(stream_, &status), ACL_SUCCESS);
  EXPECT_EQ(status, ACL_STREAM_STATUS_NOT_READY);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, 0), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, 5), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  EXPECT_EQ(aclrtSynchronizeDeviceWithTimeout(5), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, 60'000), ACL_SUCCESS);
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
  EXPECT_EQ(aclrtStreamQuery(stream_, &status), ACL_SUCCESS);
  EXPECT_EQ(status, ACL_STREAM_STATUS_COMPLETE);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, 0), ACL_SUCCESS);
}

TEST_F(StreamTest, NullIsTheDefaultStream) {
  aclrtStream standard = nullptr;
  ASSERT_EQ(aclrtCtxGetCurrentDefaultStream(&standard), ACL_SUCCESS);
  EXPECT_EQ(&stream_of(nullptr), &stream_of(standard));
  count_in(nullptr);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(count_, 1);
  EXPECT_EQ(aclrtDestroyStream(standard), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtDestroyStream(nullptr), ACL_ERROR_INVALID_PARAM);
}

TEST_F(StreamTest, BadHandlesAndOtherContexts) {
  int local = 0;
  EXPECT_EQ(aclrtSynchronizeStream(&local), ACL_ERROR_RT_INVALID_HANDLE);
  EXPECT_EQ(aclrtCreateStream(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtCreateStreamWithConfig(nullptr, 0, 0), ACL_ERROR_INVALID_PARAM);
  aclrtStream other = nullptr;
  EXPECT_EQ(aclrtCreateStreamWithConfig(&other, 8, 0), ACL_ERROR_RT_PARAM_INVALID);
  ASSERT_EQ(aclrtCreateStreamWithConfig(&other, 7, ACL_STREAM_FAST_LAUNCH), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(other), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(other), ACL_ERROR_RT_INVALID_HANDLE);
  EXPECT_EQ(aclrtDestroyStreamForce(other), ACL_ERROR_RT_INVALID_HANDLE);
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_STREAM_CONTEXT);
  EXPECT_EQ(aclrtDestroyStream(stream_), ACL_ERROR_RT_STREAM_CONTEXT);
  EXPECT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, nullptr), ACL_ERROR_RT_STREAM_CONTEXT);
  EXPECT_EQ(aclrtMemsetAsync(&local, 4, 0, 4, stream_), ACL_ERROR_RT_STREAM_CONTEXT);
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, -2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSynchronizeDeviceWithTimeout(-2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtStreamQuery(stream_, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtLaunchHostFunc(stream_, nullptr, nullptr), ACL_ERROR_INVALID_PARAM);
}

TEST_F(StreamTest, ThereAreAtMost1984OfADevice) {
  aclrtStream last = nullptr;
  for (int i = 1; i < 1984; ++i) ASSERT_EQ(aclrtCreateStream(&last), ACL_SUCCESS) << i;
  aclrtStream none = nullptr;
  EXPECT_EQ(aclrtCreateStream(&none), ACL_ERROR_RT_NO_STREAM_RESOURCE);
  EXPECT_EQ(aclrtDestroyStream(last), ACL_SUCCESS);
  EXPECT_EQ(aclrtCreateStream(&last), ACL_SUCCESS);
}

TEST_F(StreamTest, ContinueReportsTheFirstErrorOnceAndGoesOn) {
  fail_in(stream_);
  count_in(stream_);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_AICORE_TIMEOUT);
  const std::string message = text();
  EXPECT_NE(message.find("aclrtSynchronizeStream: error 507014"), std::string::npos) << message;
  EXPECT_NE(message.find("rank 3 did not come"), std::string::npos) << message;
  EXPECT_EQ(count_, 1);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  fail_in(stream_);
  EXPECT_EQ(aclrtSynchronizeDevice(), ACL_ERROR_RT_AICORE_TIMEOUT);
}

TEST_F(StreamTest, StopDropsTheTasksOfTheWholeContext) {
  aclrtStream other = nullptr;
  ASSERT_EQ(aclrtCreateStream(&other), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetStreamFailureMode(stream_, 2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtSetStreamFailureMode(stream_, ACL_STOP_ON_FAILURE), ACL_SUCCESS);
  EXPECT_EQ(aclrtSetStreamFailureMode(stream_, ACL_STOP_ON_FAILURE), ACL_ERROR_RT_PARAM_INVALID);
  Gate gate, late;
  ASSERT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, &gate), ACL_SUCCESS);
  ASSERT_EQ(aclrtLaunchHostFunc(other, Gate::wait, &late), ACL_SUCCESS);
  fail_in(stream_);
  count_in(stream_);
  count_in(other);
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_AICORE_TIMEOUT);
  late.open();
  EXPECT_EQ(aclrtSynchronizeStream(other), ACL_ERROR_RT_AICORE_TIMEOUT);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_AICORE_TIMEOUT);  // it stays
  count_in(stream_, ACL_ERROR_RT_STREAM_ABORT);
  count_in(other, ACL_ERROR_RT_STREAM_ABORT);
  EXPECT_EQ(count_, 0);
  aclrtContext fresh = nullptr;  // other contexts go on
  ASSERT_EQ(aclrtCreateContext(&fresh, 0), ACL_SUCCESS);
  count_in(nullptr);
  EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS);
  EXPECT_EQ(count_, 1);
}

TEST_F(StreamTest, AnOperatorCanAskForStop) {
  fail_in(stream_, OnFailure::kStop);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_AICORE_TIMEOUT);
  count_in(nullptr, ACL_ERROR_RT_STREAM_ABORT);
}

TEST_F(StreamTest, EveryStatusHasACode) {
  for (const auto& [code, expected] :
       {std::pair{StatusCode::kInvalidArgument, ACL_ERROR_RT_AICORE_EXCEPTION},
        {StatusCode::kUnimplemented, ACL_ERROR_RT_AICORE_EXCEPTION},
        {StatusCode::kMismatch, ACL_ERROR_RT_AICORE_EXCEPTION},
        {StatusCode::kTimeout, ACL_ERROR_RT_AICORE_TIMEOUT},
        {StatusCode::kPeerLost, ACL_ERROR_RT_AICPU_EXCEPTION},
        {StatusCode::kOutOfMemory, ACL_ERROR_RT_MEMORY_ALLOCATION},
        {StatusCode::kInternal, ACL_ERROR_RT_INTERNAL_ERROR}}) {
    ASSERT_TRUE(stream_of(stream_).submit([code = code] { return Status(code, "why"); }).ok());
    EXPECT_EQ(aclrtSynchronizeStream(stream_), expected);
  }
  ASSERT_TRUE(stream_of(stream_).submit([]() -> Error { throw std::bad_alloc(); }).ok());
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_MEMORY_ALLOCATION);
  ASSERT_TRUE(stream_of(stream_).submit([]() -> Error { throw std::logic_error("x"); }).ok());
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_INTERNAL_ERROR);
}

TEST_F(StreamTest, AbortDropsWhatHasNotBegun) {
  Gate gate;
  std::atomic<bool> running{false};
  ASSERT_TRUE(stream_of(stream_)
                  .submit([&] {
                    running = true;
                    gate.pass();
                    return Status();
                  })
                  .ok());
  count_in(stream_);
  while (!running) std::this_thread::yield();
  std::thread waiter([&, context = Runtime::instance().current_handle()] {
    ASSERT_EQ(aclrtSetCurrentContext(context), ACL_SUCCESS);
    EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_ERROR_RT_STREAM_ABORT);
  });
  // The waiter may not wait yet: abort until it has seen one.
  std::atomic<bool> done{false};
  std::thread aborter([&, context = Runtime::instance().current_handle()] {
    ASSERT_EQ(aclrtSetCurrentContext(context), ACL_SUCCESS);
    while (!done) {
      EXPECT_EQ(aclrtStreamAbort(stream_), ACL_SUCCESS);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  waiter.join();
  done = true;
  aborter.join();
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  EXPECT_EQ(count_, 0);
  count_in(stream_);
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  EXPECT_EQ(count_, 1);
}

TEST_F(StreamTest, ForcedDestructionDropsTasksAndDestructionRunsThem) {
  Gate gate;
  aclrtStream forced = nullptr, event_stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&forced), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&event_stream), ACL_SUCCESS);
  aclrtEvent event = nullptr;
  ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
  ASSERT_EQ(aclrtLaunchHostFunc(forced, Gate::wait, &gate), ACL_SUCCESS);
  count_in(forced);
  ASSERT_EQ(aclrtRecordEvent(event, forced), ACL_SUCCESS);
  ASSERT_EQ(aclrtStreamWaitEvent(event_stream, event), ACL_SUCCESS);
  std::thread opener([&] { gate.open(); });
  EXPECT_EQ(aclrtDestroyStreamForce(forced), ACL_SUCCESS);
  opener.join();
  EXPECT_LE(count_, 1);                                          // the gate may have opened first
  EXPECT_EQ(aclrtSynchronizeStream(event_stream), ACL_SUCCESS);  // a dropped record does not hang
  count_ = 0;
  for (int i = 0; i < 50; ++i) count_in(stream_);
  EXPECT_EQ(aclrtDestroyStream(stream_), ACL_SUCCESS);
  EXPECT_EQ(count_, 50);
}

TEST_F(StreamTest, TasksCannotWaitForStreams) {
  struct Seen {
    aclrtContext context;
    aclError stream, device, reset, finalize;
  } seen{Runtime::instance().current_handle(), 0, 0, 0, 0};
  ASSERT_EQ(aclrtLaunchHostFunc(
                stream_,
                [](void* p) {
                  auto& s = *static_cast<Seen*>(p);
                  aclrtSetCurrentContext(s.context);
                  s.stream = aclrtSynchronizeStream(nullptr);
                  s.device = aclrtSynchronizeDevice();
                  s.reset = aclrtResetDevice(0);
                  s.finalize = aclFinalize();
                },
                &seen),
            ACL_SUCCESS);
  ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  EXPECT_EQ(seen.stream, ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(seen.device, ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(seen.reset, ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(seen.finalize, ACL_ERROR_RT_PARAM_INVALID);
}

TEST_F(StreamTest, EventsOrderStreams) {
  aclrtStream second = nullptr;
  aclrtEvent event = nullptr;
  ASSERT_EQ(aclrtCreateStream(&second), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
  EXPECT_EQ(aclrtStreamWaitEvent(second, event), ACL_SUCCESS);  // nothing recorded: no wait
  EXPECT_EQ(aclrtSynchronizeEvent(event), ACL_SUCCESS);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, &gate), ACL_SUCCESS);
  count_in(stream_);
  ASSERT_EQ(aclrtRecordEvent(event, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtStreamWaitEvent(second, event), ACL_SUCCESS);
  int seen = -1;
  ASSERT_TRUE(stream_of(second)
                  .submit([&] {
                    seen = count_;
                    return Status();
                  })
                  .ok());
  aclrtEventRecordedStatus status = ACL_EVENT_RECORDED_STATUS_COMPLETE;
  EXPECT_EQ(aclrtQueryEventStatus(event, &status), ACL_SUCCESS);
  EXPECT_EQ(status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
  EXPECT_EQ(aclrtSynchronizeEventWithTimeout(event, 3), ACL_ERROR_RT_EVENT_SYNC_TIMEOUT);
  EXPECT_EQ(aclrtDestroyEvent(event), ACL_SUCCESS);  // the waiting stream still sees it
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(second), ACL_SUCCESS);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(aclrtDestroyEvent(event), ACL_ERROR_RT_INVALID_HANDLE);
}

TEST_F(StreamTest, EventWaitsCanTimeOut) {
  aclrtStream second = nullptr;
  aclrtEvent event = nullptr;
  ASSERT_EQ(aclrtCreateStream(&second), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
  ASSERT_EQ(aclrtSetOpWaitTimeout(1), ACL_SUCCESS);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(stream_, Gate::wait, &gate), ACL_SUCCESS);
  ASSERT_EQ(aclrtRecordEvent(event, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtStreamWaitEvent(second, event), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStream(second), ACL_ERROR_RT_WAIT_TIMEOUT);
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
}

TEST_F(StreamTest, EventsMeasure) {
  aclrtEvent start = nullptr, end = nullptr, plain = nullptr;
  ASSERT_EQ(aclrtCreateEventWithFlag(&start, ACL_EVENT_TIME_LINE), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEvent(&end), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateEventExWithFlag(&plain, ACL_EVENT_SYNC), ACL_SUCCESS);
  float ms = -1;
  EXPECT_EQ(aclrtEventElapsedTime(&ms, start, end), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID);
  ASSERT_EQ(aclrtRecordEvent(start, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtLaunchHostFunc(
                stream_, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(20)); },
                nullptr),
            ACL_SUCCESS);
  ASSERT_EQ(aclrtRecordEvent(end, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtRecordEvent(plain, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtSynchronizeStream(stream_), ACL_SUCCESS);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, start, end), ACL_SUCCESS);
  EXPECT_GE(ms, 20.0f);
  EXPECT_LT(ms, 60'000.0f);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, end, start), ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, start, plain), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID);
  EXPECT_EQ(aclrtEventElapsedTime(nullptr, start, end), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, nullptr, end), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, start, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtEventElapsedTime(&ms, start, &ms), ACL_ERROR_RT_INVALID_HANDLE);
}

TEST_F(StreamTest, EventArguments) {
  aclrtEvent event = nullptr;
  EXPECT_EQ(aclrtCreateEvent(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtCreateEventWithFlag(&event, 0), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtCreateEventWithFlag(&event, 0x40000), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtDestroyEvent(nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtRecordEvent(nullptr, stream_), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtRecordEvent(stream_, stream_), ACL_ERROR_RT_INVALID_HANDLE);  // not an event
  EXPECT_EQ(aclrtSynchronizeEvent(&event), ACL_ERROR_RT_INVALID_HANDLE);
  ASSERT_EQ(aclrtCreateEvent(&event), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeEventWithTimeout(event, -3), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtQueryEventStatus(event, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtStreamWaitEvent(stream_, nullptr), ACL_ERROR_INVALID_PARAM);
  EXPECT_EQ(aclrtStreamWaitEvent(event, event), ACL_ERROR_RT_INVALID_HANDLE);  // not a stream
}

TEST_F(StreamTest, CallbacksRunInTheSubscribedThread) {
  const auto self = static_cast<uint64_t>(pthread_self());
  static thread_local int ran = 0;
  const auto callback = [](void* data) { ran += *static_cast<int*>(data); };
  int amount = 5;
  EXPECT_EQ(aclrtLaunchCallback(callback, &amount, ACL_CALLBACK_BLOCK, stream_),
            ACL_ERROR_RT_STREAM_NO_CB_REG);
  EXPECT_EQ(aclrtProcessReport(0), ACL_ERROR_RT_THREAD_SUBSCRIBE);
  EXPECT_EQ(aclrtProcessReport(-2), ACL_ERROR_RT_PARAM_INVALID);
  EXPECT_EQ(aclrtUnSubscribeReport(self, stream_), ACL_ERROR_RT_STREAM_SUBSCRIBE);
  ASSERT_EQ(aclrtSubscribeReport(self, stream_), ACL_SUCCESS);
  EXPECT_EQ(aclrtSubscribeReport(self, stream_), ACL_ERROR_RT_STREAM_SUBSCRIBE);
  EXPECT_EQ(aclrtProcessReport(1), ACL_ERROR_WAIT_CALLBACK_TIMEOUT);
  EXPECT_EQ(aclrtLaunchCallback(nullptr, &amount, ACL_CALLBACK_BLOCK, stream_),
            ACL_ERROR_INVALID_PARAM);
  ASSERT_EQ(aclrtLaunchCallback(callback, &amount, ACL_CALLBACK_BLOCK, stream_), ACL_SUCCESS);
  ASSERT_EQ(aclrtLaunchCallback(callback, &amount, ACL_CALLBACK_NO_BLOCK, stream_), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(stream_, 2), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  EXPECT_EQ(aclrtProcessReport(-1), ACL_SUCCESS);
  EXPECT_EQ(ran, 5);
  EXPECT_EQ(aclrtProcessReport(60'000), ACL_SUCCESS);
  EXPECT_EQ(ran, 10);
  ASSERT_EQ(aclrtLaunchCallback(callback, &amount, ACL_CALLBACK_BLOCK, stream_), ACL_SUCCESS);
  EXPECT_EQ(aclrtUnSubscribeReport(self, stream_), ACL_SUCCESS);  // a blocked stream goes on
  const aclError left = aclrtSynchronizeStream(stream_);
  EXPECT_TRUE(left == ACL_SUCCESS || left == ACL_ERROR_RT_STREAM_NO_CB_REG) << left;
  EXPECT_EQ(ran, 10);
}

}  // namespace
}  // namespace weft::cann
