// SPDX-License-Identifier: Apache-2.0
// Work of several communicators: one piece at a time in each of them, in one order, without end.
#include "communicator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "aclnn_calls.h"

namespace weft::cann {
namespace {

using Several = Communicator::Several;

class SeveralCommunicators : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
    for (int i = 0; i < 3; ++i)
      made_.push_back(std::make_shared<Communicator>(*Runtime::instance().current_device(),
                                                     std::move(Group::local(1).value()[0]),
                                                     Context::create({.threads = 1}).value()));
  }
  void TearDown() override {
    made_.clear();
    RuntimeTest::TearDown();
  }
  Several made_;
};

// Threads put pieces with any of the communicators, in any order, into streams that they share.
// Each piece must be alone in its communicators.
TEST_F(SeveralCommunicators, OneAtATimeAndInOrder) {
  constexpr int kThreads = 4, kPieces = 500, kStreams = 3;
  std::vector<aclrtStream> streams(kStreams);
  for (aclrtStream& stream : streams) ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  std::array<std::atomic<int>, 3> inside{};
  std::atomic<int> overlaps{0}, done{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < kThreads; ++seed)
    threads.emplace_back([&, seed] {
      ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
      std::mt19937 random(seed);
      std::vector<std::size_t> order = {0, 1, 2};
      for (int piece = 0; piece < kPieces; ++piece) {
        std::ranges::shuffle(order, random);
        const std::vector<std::size_t> used(order.begin(), order.begin() + 1 + random() % 3);
        Several communicators;
        for (std::size_t i : used) communicators.push_back(made_[i]);
        const auto work = [&, used](Context&, Group& group) {
          if (&group != &made_[used[0]]->group()) ++overlaps;
          for (std::size_t i : used) overlaps += inside[i].fetch_add(1) != 0;
          std::this_thread::yield();
          for (std::size_t i : used) inside[i].fetch_sub(1);
          ++done;
          return Status();
        };
        ASSERT_TRUE(
            Communicator::submit(communicators, stream_of(streams[random() % kStreams]), work)
                .ok());
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (aclrtStream stream : streams) EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS);
  EXPECT_EQ(overlaps.load(), 0);
  EXPECT_EQ(done.load(), kThreads * kPieces);
  for (const auto& communicator : made_) EXPECT_FALSE(communicator->busy());
  for (aclrtStream stream : streams) EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
}

// The order of submissions holds in each communicator, also when an earlier piece is in a stream
// that comes to it late.
TEST_F(SeveralCommunicators, ALaterPieceWaitsInAllOfThem) {
  aclrtStream first = nullptr, second = nullptr;
  ASSERT_EQ(aclrtCreateStream(&first), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&second), ACL_SUCCESS);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(first, Gate::wait, &gate), ACL_SUCCESS);
  std::vector<int> order;
  const auto note = [&order](int piece) {
    return [&order, piece](Context&, Group&) {
      order.push_back(piece);
      return Status();
    };
  };
  ASSERT_TRUE(Communicator::submit({made_[1], made_[0]}, stream_of(first), note(1)).ok());
  ASSERT_TRUE(Communicator::submit(made_[1], stream_of(second), note(2)).ok());
  ASSERT_TRUE(Communicator::submit({made_[0], made_[2]}, stream_of(second), note(3)).ok());
  EXPECT_TRUE(made_[2]->busy());
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(second, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  gate.open();
  EXPECT_EQ(aclrtSynchronizeStream(second), ACL_SUCCESS);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(aclrtDestroyStream(first), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(second), ACL_SUCCESS);
}

TEST_F(SeveralCommunicators, AFailureEndsAll) {
  aclrtStream stream = nullptr;
  ASSERT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS);
  const auto work = [](Context&, Group&) { return Status(StatusCode::kInternal, "the cause"); };
  ASSERT_TRUE(Communicator::submit({made_[0], made_[2]}, stream_of(stream), work).ok());
  EXPECT_EQ(aclrtSynchronizeStream(stream), ACL_ERROR_RT_INTERNAL_ERROR);
  EXPECT_EQ(made_[0]->group().health().message(), "the cause");
  EXPECT_TRUE(made_[1]->group().health().ok());
  EXPECT_EQ(made_[2]->group().health().message(), "the cause");
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS);
}

// A piece that was dropped gives all its turns up.
TEST_F(SeveralCommunicators, ADroppedPieceIsPassedOver) {
  aclrtStream first = nullptr, second = nullptr;
  ASSERT_EQ(aclrtCreateStream(&first), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&second), ACL_SUCCESS);
  Gate gate;
  ASSERT_EQ(aclrtLaunchHostFunc(first, Gate::wait, &gate), ACL_SUCCESS);
  const auto nothing = [](Context&, Group&) { return Status(); };
  ASSERT_TRUE(Communicator::submit({made_[0], made_[1]}, stream_of(first), nothing).ok());
  ASSERT_TRUE(Communicator::submit(made_[1], stream_of(second), nothing).ok());
  EXPECT_EQ(aclrtStreamAbort(first), ACL_SUCCESS);
  EXPECT_EQ(aclrtSynchronizeStreamWithTimeout(second, 10000), ACL_SUCCESS);
  EXPECT_FALSE(made_[0]->busy());
  gate.open();
  EXPECT_EQ(aclrtDestroyStream(first), ACL_SUCCESS);
  EXPECT_EQ(aclrtDestroyStream(second), ACL_SUCCESS);
}

}  // namespace
}  // namespace weft::cann
