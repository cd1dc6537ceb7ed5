// SPDX-License-Identifier: Apache-2.0
// What collectives refuse at the call, on one rank alone; and what they do not mind.
#include <array>
#include <cstring>

#include "check.h"
#include "hccl_ranks.h"

namespace weft::cann {
namespace {

constexpr auto kType = HCCL_DATA_TYPE_FP32;
constexpr auto kOp = HCCL_REDUCE_SUM;
constexpr uint64_t kTooMany = uint64_t{1} << 60;
constexpr int kRanks = 2;

template <typename Enum>
Enum no_such(int number) {
  Enum value;
  std::memcpy(&value, &number, sizeof value);
  return value;
}

/// Rank 0 of two; nothing that is refused may have reached the other, so it need not be there.
class HcclArguments : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    comms_ = init_all({0, 1});
    comm = comms_[0];
    device_.emplace(0);
    stream = device_->stream;
  }
  void TearDown() override {
    device_.reset();
    for (HcclComm each : comms_) EXPECT_EQ(HcclCommDestroy(each), HCCL_SUCCESS) << text();
    RuntimeTest::TearDown();
  }
  /// The code, and a message that has the function, the code and `says`.
  static void expect(HcclResult wanted, HcclResult got, const std::string& says) {
    const std::string said = text();
    EXPECT_EQ(got, wanted) << said;
    EXPECT_NE(said.find("error " + std::to_string(wanted)), std::string::npos) << said;
    EXPECT_NE(said.find(says), std::string::npos) << said;
  }

  HcclComm comm = nullptr;
  aclrtStream stream = nullptr;
  float* const a = memory_.data();
  float* const b = memory_.data() + 100;
  std::array<uint64_t, kRanks> two{5, 5}, from{0, 50}, huge{kTooMany, 1}, many{1U << 31, 0};
  std::array<uint64_t, kRanks * kRanks> matrix{5, 5, 5, 5};

 private:
  std::vector<HcclComm> comms_;
  std::optional<Device> device_;
  std::array<float, 200> memory_{};
};

TEST_F(HcclArguments, Types) {
  for (const int number : {12, 14, 15, 16, 17, 255, 13, 18, -1, 1000}) {
    const auto type = no_such<HcclDataType>(number);
    const std::string says = "ype is " + std::to_string(number);
    const auto refused = [&](HcclResult result) { expect(HCCL_E_NOT_SUPPORT, result, says); };
    refused(HcclAllReduce(a, b, 5, type, kOp, comm, stream));
    refused(HcclReduce(a, b, 5, type, kOp, 0, comm, stream));
    refused(HcclReduceScatter(a, b, 5, type, kOp, comm, stream));
    refused(HcclReduceScatterV(a, &two, &from, b, 5, type, kOp, comm, stream));
    refused(HcclAllGather(a, b, 5, type, comm, stream));
    refused(HcclAllGatherV(a, 5, b, &two, &from, type, comm, stream));
    refused(HcclBroadcast(a, 5, type, 0, comm, stream));
    refused(HcclScatter(a, b, 5, type, 0, comm, stream));
    refused(HcclSend(a, 5, type, 1, comm, stream));
    refused(HcclRecv(a, 5, type, 1, comm, stream));
    refused(HcclAlltoAll(a, 5, type, b, 5, type, comm, stream));
    refused(HcclAlltoAll(a, 5, kType, b, 5, type, comm, stream));
    refused(HcclAlltoAllV(a, &two, &from, type, b, &two, &from, type, comm, stream));
    refused(HcclAlltoAllVC(a, &matrix, type, b, type, comm, stream));
  }
  const auto other = HCCL_DATA_TYPE_INT32;
  expect(HCCL_E_PARA, HcclAlltoAll(a, 5, kType, b, 5, other, comm, stream), "recvType");
  expect(HCCL_E_PARA, HcclAlltoAllV(a, &two, &from, kType, b, &two, &from, other, comm, stream),
         "recvType");
  expect(HCCL_E_PARA, HcclAlltoAllVC(a, &matrix, kType, b, other, comm, stream), "recvType");
}

TEST_F(HcclArguments, Operations) {
  for (const int number : {4, 255, -1}) {
    const auto op = no_such<HcclReduceOp>(number);
    const std::string says = "op is " + std::to_string(number);
    expect(HCCL_E_PARA, HcclAllReduce(a, b, 5, kType, op, comm, stream), says);
    expect(HCCL_E_PARA, HcclReduce(a, b, 5, kType, op, 0, comm, stream), says);
    expect(HCCL_E_PARA, HcclReduceScatter(a, b, 5, kType, op, comm, stream), says);
    expect(HCCL_E_PARA, HcclReduceScatterV(a, &two, &from, b, 5, kType, op, comm, stream), says);
  }
}

TEST_F(HcclArguments, Ranks) {
  for (const uint32_t rank : {2U, 0xffffffffU}) {
    const std::string is = " is " + std::to_string(rank);
    expect(HCCL_E_PARA, HcclReduce(a, b, 5, kType, kOp, rank, comm, stream), "root" + is);
    expect(HCCL_E_PARA, HcclBroadcast(a, 5, kType, rank, comm, stream), "root" + is);
    expect(HCCL_E_PARA, HcclScatter(a, b, 5, kType, rank, comm, stream), "root" + is);
    expect(HCCL_E_PARA, HcclSend(a, 5, kType, rank, comm, stream), "destRank" + is);
    expect(HCCL_E_PARA, HcclRecv(a, 5, kType, rank, comm, stream), "srcRank" + is);
  }
  expect(HCCL_E_PARA, HcclSend(a, 5, kType, 0, comm, stream), "destRank is this rank itself");
  expect(HCCL_E_PARA, HcclRecv(a, 5, kType, 0, comm, stream), "srcRank is this rank itself");
}

TEST_F(HcclArguments, Counts) {
  const auto refused = [&](HcclResult result) { expect(HCCL_E_PARA, result, "ount"); };
  for (const uint64_t count : {kTooMany, ~uint64_t{0}, uint64_t{1} << 56}) {
    refused(HcclAllReduce(a, b, count, HCCL_DATA_TYPE_FP64, kOp, comm, stream));
    refused(HcclReduce(a, b, count, HCCL_DATA_TYPE_FP64, kOp, 0, comm, stream));
    refused(HcclReduceScatter(a, b, count, kType, kOp, comm, stream));
    refused(HcclAllGather(a, b, count, kType, comm, stream));
    refused(HcclAllGatherV(a, count, b, &two, &from, kType, comm, stream));
    refused(HcclBroadcast(a, count, HCCL_DATA_TYPE_INT64, 0, comm, stream));
    refused(HcclScatter(a, b, count, kType, 0, comm, stream));
    refused(HcclSend(a, count, HCCL_DATA_TYPE_UINT64, 1, comm, stream));
    refused(HcclRecv(a, count, HCCL_DATA_TYPE_UINT64, 1, comm, stream));
    refused(HcclAlltoAll(a, count, kType, b, count, kType, comm, stream));
  }
  expect(HCCL_E_PARA, HcclAllReduce(a, b, ~uint64_t{0}, kType, kOp, comm, stream),
         "count is 18446744073709551615 but must be 0 to 72057594037927936");
  refused(HcclAlltoAll(a, 5, kType, b, 6, kType, comm, stream));
  refused(HcclReduceScatterV(a, &two, &from, b, 4, kType, kOp, comm, stream));
  refused(HcclAllGatherV(a, 4, b, &two, &from, kType, comm, stream));
  refused(HcclReduceScatterV(a, &huge, &from, b, kTooMany, kType, kOp, comm, stream));
  std::array<uint64_t, 4> sum{uint64_t{1} << 56, 1, 1, 1};  // each of them would do
  refused(HcclAlltoAllV(a, &sum, &from, kType, b, &two, &from, kType, comm, stream));
  refused(HcclAlltoAllVC(a, &sum, kType, b, kType, comm, stream));
  expect(HCCL_E_PARA, HcclAllGatherV(a, 5, b, &two, &huge, kType, comm, stream), "recvDispls[0]");
  expect(HCCL_E_PARA, HcclAlltoAllV(a, &two, &from, kType, b, &two, &huge, kType, comm, stream),
         "rdispls[0]");
}

TEST_F(HcclArguments, NullPointers) {
  const auto refused = [&](HcclResult result, const std::string& name) {
    expect(HCCL_E_PTR, result, name + " is null");
  };
  refused(HcclAllReduce(nullptr, b, 5, kType, kOp, comm, stream), "sendBuf");
  refused(HcclAllReduce(a, nullptr, 5, kType, kOp, comm, stream), "recvBuf");
  refused(HcclAllReduce(a, b, 5, kType, kOp, nullptr, stream), "comm");
  refused(HcclReduce(nullptr, b, 5, kType, kOp, 1, comm, stream), "sendBuf");
  refused(HcclReduce(a, nullptr, 5, kType, kOp, 0, comm, stream), "recvBuf");
  refused(HcclReduceScatter(nullptr, b, 5, kType, kOp, comm, stream), "sendBuf");
  refused(HcclReduceScatter(a, nullptr, 5, kType, kOp, comm, stream), "recvBuf");
  refused(HcclReduceScatterV(nullptr, &two, &from, b, 5, kType, kOp, comm, stream), "sendBuf");
  refused(HcclReduceScatterV(a, nullptr, &from, b, 5, kType, kOp, comm, stream), "sendCounts");
  refused(HcclReduceScatterV(a, &two, nullptr, b, 5, kType, kOp, comm, stream), "sendDispls");
  refused(HcclReduceScatterV(a, &two, &from, nullptr, 5, kType, kOp, comm, stream), "recvBuf");
  refused(HcclAllGather(nullptr, b, 5, kType, comm, stream), "sendBuf");
  refused(HcclAllGather(a, nullptr, 5, kType, comm, stream), "recvBuf");
  refused(HcclAllGatherV(nullptr, 5, b, &two, &from, kType, comm, stream), "sendBuf");
  refused(HcclAllGatherV(a, 5, nullptr, &two, &from, kType, comm, stream), "recvBuf");
  refused(HcclAllGatherV(a, 5, b, nullptr, &from, kType, comm, stream), "recvCounts");
  refused(HcclAllGatherV(a, 5, b, &two, nullptr, kType, comm, stream), "recvDispls");
  refused(HcclBroadcast(nullptr, 5, kType, 0, comm, stream), "buf");
  refused(HcclBroadcast(nullptr, 5, kType, 1, comm, stream), "buf");
  refused(HcclScatter(nullptr, b, 5, kType, 0, comm, stream), "sendBuf");
  refused(HcclScatter(a, nullptr, 5, kType, 1, comm, stream), "recvBuf");
  refused(HcclSend(nullptr, 5, kType, 1, comm, stream), "sendBuf");
  refused(HcclRecv(nullptr, 5, kType, 1, comm, stream), "recvBuf");
  refused(HcclAlltoAll(nullptr, 5, kType, b, 5, kType, comm, stream), "sendBuf");
  refused(HcclAlltoAll(a, 5, kType, nullptr, 5, kType, comm, stream), "recvBuf");
  const auto alltoallv = [&](const void* send, const void* counts, const void* offsets,
                             const void* recv, const void* rcounts, const void* roffsets) {
    return HcclAlltoAllV(send, counts, offsets, kType, recv, rcounts, roffsets, kType, comm,
                         stream);
  };
  refused(alltoallv(nullptr, &two, &from, b, &two, &from), "sendBuf");
  refused(alltoallv(a, nullptr, &from, b, &two, &from), "sendCounts");
  refused(alltoallv(a, &two, nullptr, b, &two, &from), "sdispls");
  refused(alltoallv(a, &two, &from, nullptr, &two, &from), "recvBuf");
  refused(alltoallv(a, &two, &from, b, nullptr, &from), "recvCounts");
  refused(alltoallv(a, &two, &from, b, &two, nullptr), "rdispls");
  refused(HcclAlltoAllVC(nullptr, &matrix, kType, b, kType, comm, stream), "sendBuf");
  refused(HcclAlltoAllVC(a, nullptr, kType, b, kType, comm, stream), "sendCountMatrix");
  refused(HcclAlltoAllVC(a, &matrix, kType, nullptr, kType, comm, stream), "recvBuf");
  refused(HcclBatchSendRecv(nullptr, 1, comm, stream), "sendRecvInfo");
}

TEST_F(HcclArguments, ItemsOfABatch) {
  const HcclSendRecvItem good{HCCL_SEND, a, 5, kType, 1};
  const auto refused = [&](HcclResult wanted, const HcclSendRecvItem& item,
                           const std::string& says) {
    HcclSendRecvItem items[] = {good, item};
    expect(wanted, HcclBatchSendRecv(items, 2, comm, stream), says);
  };
  refused(HCCL_E_PARA, {no_such<HcclSendRecvType>(2), b, 5, kType, 1}, "sendRecvType");
  refused(HCCL_E_PTR, {HCCL_RECV, nullptr, 5, kType, 1}, "buf of an item is null");
  refused(HCCL_E_PARA, {HCCL_RECV, b, kTooMany, kType, 1}, "count of an item");
  refused(HCCL_E_NOT_SUPPORT, {HCCL_RECV, b, 5, HCCL_DATA_TYPE_INT128, 1}, "dataType of an item");
  refused(HCCL_E_PARA, {HCCL_RECV, b, 5, kType, 2}, "remoteRank of an item");
  refused(HCCL_E_PARA, {HCCL_RECV, b, 5, kType, ~0U}, "remoteRank of an item is 4294967295");
  refused(HCCL_E_PARA, {HCCL_RECV, a + 4, 5, kType, 1}, "overlaps");
}

TEST_F(HcclArguments, BuffersThatOverlap) {
  const auto refused = [&](HcclResult result) { expect(HCCL_E_PARA, result, "overlaps"); };
  refused(HcclAllReduce(a, a + 1, 5, kType, kOp, comm, stream));
  refused(HcclReduce(a, a + 1, 5, kType, kOp, 0, comm, stream));
  refused(HcclReduceScatter(a, a + 1, 5, kType, kOp, comm, stream));
  refused(HcclReduceScatterV(a, &two, &from, a + 1, 5, kType, kOp, comm, stream));
  refused(HcclAllGather(a + 5, a, 5, kType, comm, stream));  // rank 1's block
  refused(HcclAllGatherV(a + 50, 5, a, &two, &from, kType, comm, stream));
  refused(HcclScatter(a, a + 1, 5, kType, 0, comm, stream));
  refused(HcclAlltoAll(a, 5, kType, a + 1, 5, kType, comm, stream));
  refused(HcclAlltoAllV(a, &two, &from, kType, a, &two, &from, kType, comm, stream));
  refused(HcclAlltoAllVC(a, &matrix, kType, a, kType, comm, stream));
}

TEST_F(HcclArguments, Streams) {
  aclrtStream gone = nullptr, elsewhere = nullptr;
  ASSERT_EQ(aclrtCreateStream(&gone), ACL_SUCCESS);
  ASSERT_EQ(aclrtDestroyStream(gone), ACL_SUCCESS);
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, gone), "no such stream");
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, a), "no such stream");
  ASSERT_EQ(aclrtSetDevice(1), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&elsewhere), ACL_SUCCESS);
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, stream), "belongs to another device's context");
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, elsewhere), "the stream is on device 1");
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, nullptr), "the stream is on device 1");
  ASSERT_EQ(aclrtDestroyStream(elsewhere), ACL_SUCCESS);
  ASSERT_EQ(aclrtResetDevice(1), ACL_SUCCESS);
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, stream), "no current context");
  ASSERT_EQ(aclrtSetDevice(0), ACL_SUCCESS);
  ASSERT_EQ(aclrtResetDevice(0), ACL_SUCCESS);
}

TEST_F(HcclArguments, StreamsOfAStoppedContext) {
  aclrtContext context = nullptr;
  aclrtStream stopped = nullptr;
  ASSERT_EQ(aclrtCreateContext(&context, 0), ACL_SUCCESS);
  ASSERT_EQ(aclrtCreateStream(&stopped), ACL_SUCCESS);
  ASSERT_EQ(aclrtSetStreamFailureMode(stopped, ACL_STOP_ON_FAILURE), ACL_SUCCESS);
  ASSERT_TRUE(stream_of(stopped).submit([] { return Error(507015, "broken"); }).ok());
  ASSERT_EQ(aclrtSynchronizeStream(stopped), 507015);
  expect(HCCL_E_RUNTIME, HcclBarrier(comm, stopped), "broken");
  ASSERT_EQ(aclrtDestroyContext(context), ACL_SUCCESS);
}

// Every function with nothing to do and nothing given, on all ranks, and they still agree.
TEST(HcclEmpty, CallsOfNothingWork) {
  ASSERT_EQ(aclInit(nullptr), ACL_SUCCESS);
  on_devices(2, [&](int rank, Device& device, HcclComm comm) {
    aclrtStream stream = device.stream;
    const std::array<uint64_t, 4> none{}, somewhere{3, 4, 5, 6};
    const auto peer = static_cast<uint32_t>(1 - rank);
    EXPECT_EQ(HcclAllReduce(nullptr, nullptr, 0, kType, kOp, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclReduce(nullptr, nullptr, 0, kType, kOp, 1, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclReduceScatter(nullptr, nullptr, 0, kType, kOp, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclReduceScatterV(nullptr, &none, &somewhere, nullptr, 0, kType, kOp, comm, stream),
              HCCL_SUCCESS);
    EXPECT_EQ(HcclAllGather(nullptr, nullptr, 0, kType, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclAllGatherV(nullptr, 0, nullptr, &none, &somewhere, kType, comm, stream),
              HCCL_SUCCESS);
    EXPECT_EQ(HcclBroadcast(nullptr, 0, kType, 0, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclScatter(nullptr, nullptr, 0, kType, 0, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(rank ? HcclSend(nullptr, 0, kType, peer, comm, stream)
                   : HcclRecv(nullptr, 0, kType, peer, comm, stream),
              HCCL_SUCCESS);
    EXPECT_EQ(HcclAlltoAll(nullptr, 0, kType, nullptr, 0, kType, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclAlltoAllV(nullptr, &none, &somewhere, kType, nullptr, &none, &somewhere, kType,
                            comm, stream),
              HCCL_SUCCESS);
    EXPECT_EQ(HcclAlltoAllVC(nullptr, &none, kType, nullptr, kType, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclBatchSendRecv(nullptr, 0, comm, stream), HCCL_SUCCESS);
    EXPECT_EQ(HcclBarrier(comm, nullptr), HCCL_SUCCESS);
    EXPECT_EQ(device.synchronise(), ACL_SUCCESS) << messages();
    EXPECT_EQ(aclrtSynchronizeStream(nullptr), ACL_SUCCESS) << messages();
  });
  ASSERT_EQ(aclFinalize(), ACL_SUCCESS);
}

}  // namespace
}  // namespace weft::cann
