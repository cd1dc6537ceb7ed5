// SPDX-License-Identifier: Apache-2.0
#include "hccl_ranks.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace weft::cann {

using testing::CollectiveCase;
using testing::CollectiveMemory;
using testing::Function;

std::string messages() {
  const char* text = aclGetRecentErrMsg();
  return text ? text : "";
}

HcclDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return HCCL_DATA_TYPE_INT8;
    case DType::kInt16:
      return HCCL_DATA_TYPE_INT16;
    case DType::kInt32:
      return HCCL_DATA_TYPE_INT32;
    case DType::kFloat16:
      return HCCL_DATA_TYPE_FP16;
    case DType::kFloat32:
      return HCCL_DATA_TYPE_FP32;
    case DType::kInt64:
      return HCCL_DATA_TYPE_INT64;
    case DType::kUInt64:
      return HCCL_DATA_TYPE_UINT64;
    case DType::kUInt8:
      return HCCL_DATA_TYPE_UINT8;
    case DType::kUInt16:
      return HCCL_DATA_TYPE_UINT16;
    case DType::kUInt32:
      return HCCL_DATA_TYPE_UINT32;
    case DType::kFloat64:
      return HCCL_DATA_TYPE_FP64;
    case DType::kBFloat16:
      return HCCL_DATA_TYPE_BFP16;
    default:
      return HCCL_DATA_TYPE_RESERVED;
  }
}

HcclReduceOp op_of(ReduceOp op) {
  constexpr HcclReduceOp kOps[] = {HCCL_REDUCE_SUM, HCCL_REDUCE_PROD, HCCL_REDUCE_MAX,
                                   HCCL_REDUCE_MIN};
  return kOps[static_cast<int>(op)];
}

const std::vector<DType>& types() {
  static const std::vector<DType> types = {DType::kInt8,    DType::kInt16,   DType::kInt32,
                                           DType::kFloat16, DType::kFloat32, DType::kInt64,
                                           DType::kUInt64,  DType::kUInt8,   DType::kUInt16,
                                           DType::kUInt32,  DType::kFloat64, DType::kBFloat16};
  return types;
}

HcclResult call(const CollectiveCase& c, int rank, const CollectiveMemory& memory, HcclComm comm,
                aclrtStream stream) {
  void* const send = const_cast<std::byte*>(memory.send());
  void* const recv = memory.recv();
  const auto count = static_cast<uint64_t>(c.count), root = static_cast<uint64_t>(c.root);
  const bool is_root = rank == c.root;
  const HcclDataType type = type_of(c.dtype);
  const HcclReduceOp op = op_of(c.op);
  std::vector<std::int64_t> counts = c.counts(), offsets = c.offsets(rank), matrix = c.matrix();
  CollectiveCase::Exchanged parts = c.exchanged(rank);
  const auto own = static_cast<uint64_t>(counts[static_cast<std::size_t>(rank)]);
  const auto run = [&] {
    switch (c.function) {
      case Function::kAllReduce:
        return HcclAllReduce(send, recv, count, type, op, comm, stream);
      case Function::kReduce:
        return HcclReduce(send, is_root ? recv : nullptr, count, type, op,
                          static_cast<uint32_t>(root), comm, stream);
      case Function::kReduceScatter:
        return HcclReduceScatter(send, recv, count, type, op, comm, stream);
      case Function::kReduceScatterV:
        return HcclReduceScatterV(send, counts.data(), offsets.data(), recv, own, type, op, comm,
                                  stream);
      case Function::kAllGather:
        return HcclAllGather(send, recv, count, type, comm, stream);
      case Function::kAllGatherV:
        return HcclAllGatherV(send, own, recv, counts.data(), offsets.data(), type, comm, stream);
      case Function::kBroadcast:
        return HcclBroadcast(recv, count, type, static_cast<uint32_t>(root), comm, stream);
      case Function::kScatter:
        return HcclScatter(is_root ? send : nullptr, recv, count, type, static_cast<uint32_t>(root),
                           comm, stream);
      case Function::kAllToAll:
        return HcclAlltoAll(send, count, type, recv, count, type, comm, stream);
      case Function::kAllToAllV:
        return HcclAlltoAllV(send, parts.send_counts.data(), parts.send_offsets.data(), type, recv,
                             parts.recv_counts.data(), parts.recv_offsets.data(), type, comm,
                             stream);
      case Function::kAllToAllVC:
        return HcclAlltoAllVC(send, matrix.data(), type, recv, type, comm, stream);
    }
    return HCCL_E_INTERNAL;
  };
  const HcclResult result = run();
  for (auto* array : {&counts, &offsets, &matrix, &parts.send_counts, &parts.send_offsets,
                      &parts.recv_counts, &parts.recv_offsets})
    std::fill(array->begin(), array->end(), -1);
  return result;
}

std::vector<CollectiveCase> all_kinds(int ranks, const std::vector<std::int64_t>& counts) {
  std::vector<CollectiveCase> cases;
  const auto add = [&](Function function, DType dtype, ReduceOp op) {
    for (const std::int64_t count : counts) {
      CollectiveCase c{function, dtype, op, ranks, count};
      const int number = static_cast<int>(cases.size());
      c.root = number % ranks;
      c.in_place = number % 2;
      c.seed = static_cast<std::uint64_t>(number) + 1;
      cases.push_back(c);
    }
  };
  for (int i = 0; i < testing::kFunctions; ++i)
    for (const DType dtype : types()) {
      const auto function = static_cast<Function>(i);
      add(function, dtype, ReduceOp::kSum);
      if (!reduces(function)) continue;
      for (const ReduceOp op : {ReduceOp::kProd, ReduceOp::kMax, ReduceOp::kMin})
        add(function, dtype, op);
    }
  return cases;
}

void run_cases(const std::vector<CollectiveCase>& cases, int rank, HcclComm comm,
               aclrtStream stream) {
  for (const CollectiveCase& c : cases) {
    CollectiveMemory memory(c, rank);
    ASSERT_EQ(call(c, rank, memory, comm, stream), HCCL_SUCCESS) << c.text() << ": " << messages();
    ASSERT_EQ(aclrtSynchronizeStream(stream), ACL_SUCCESS) << c.text() << ": " << messages();
    memory.give_up();
    memory.expect_correct();
    if (::testing::Test::HasFailure()) return;
  }
}

Device::Device(int device) : id(device) {
  EXPECT_EQ(aclrtSetDevice(id), ACL_SUCCESS) << messages();
  EXPECT_EQ(aclrtCreateStream(&stream), ACL_SUCCESS) << messages();
}

Device::~Device() {
  aclrtSetDevice(id);  // others may be current by now
  EXPECT_EQ(aclrtDestroyStream(stream), ACL_SUCCESS) << messages();
  EXPECT_EQ(aclrtResetDevice(id), ACL_SUCCESS) << messages();
  EXPECT_EQ(aclrtResetDevice(id), ACL_SUCCESS) << messages();
}

std::vector<HcclComm> init_all(const std::vector<int>& devices) {
  std::vector<int32_t> list(devices.begin(), devices.end());
  std::vector<HcclComm> comms(list.size());
  EXPECT_EQ(HcclCommInitAll(static_cast<uint32_t>(list.size()), list.data(), comms.data()),
            HCCL_SUCCESS)
      << messages();
  return comms;
}

void on_devices(const std::vector<HcclComm>& comms, const std::vector<int>& devices,
                const RankBody& body) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < comms.size(); ++i)
    threads.emplace_back([&, i] {
      Device device(devices[i]);
      body(static_cast<int>(i), device, comms[i]);
      EXPECT_EQ(HcclCommDestroy(comms[i]), HCCL_SUCCESS) << messages();
    });
  for (std::thread& thread : threads) thread.join();
}

void on_devices(int ranks, const RankBody& body) {
  std::vector<int> devices;
  for (int i = 0; i < ranks; ++i) devices.push_back(i);
  on_devices(init_all(devices), devices, body);
}

RootInfoPipes::RootInfoPipes(int ranks) : pipes_(static_cast<std::size_t>(ranks)) {
  for (auto& ends : pipes_) EXPECT_EQ(pipe(ends.data()), 0);
}

RootInfoPipes::~RootInfoPipes() {
  for (const auto& ends : pipes_)
    for (const int end : ends) close(end);
}

HcclRootInfo RootInfoPipes::exchange(int rank) const {
  HcclRootInfo info{};
  if (rank == 0) {
    EXPECT_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS) << messages();
    for (const auto& ends : pipes_)
      EXPECT_EQ(write(ends[1], &info, sizeof info), static_cast<ssize_t>(sizeof info));
    return info;
  }
  std::size_t got = 0;
  while (got < sizeof info) {
    const ssize_t bytes =
        read(pipes_[static_cast<std::size_t>(rank)][0], info.internal + got, sizeof info - got);
    if (bytes <= 0) break;
    got += static_cast<std::size_t>(bytes);
  }
  EXPECT_EQ(got, sizeof info);
  return info;
}

testing::RankFunction in_process(const RootInfoPipes& pipes, ProcessBody body) {
  return [&pipes, body = std::move(body)](testing::Rank& rank) -> std::string {
    EXPECT_EQ(aclInit(nullptr), ACL_SUCCESS);
    {
      Device device(rank.rank);
      const HcclRootInfo info = pipes.exchange(rank.rank);
      HcclComm comm = nullptr;
      EXPECT_EQ(HcclCommInitRootInfo(static_cast<uint32_t>(rank.ranks), &info,
                                     static_cast<uint32_t>(rank.rank), &comm),
                HCCL_SUCCESS)
          << messages();
      body(rank, device, comm);
    }
    EXPECT_EQ(aclFinalize(), ACL_SUCCESS);
    return {};
  };
}

RankTableFile::RankTableFile(const std::string& text) {
  static int made = 0;
  path_ = fmt::format("{}rank-table-{}-{}.json", ::testing::TempDir(), getpid(), made++);
  std::ofstream(path_) << text;
}

RankTableFile::~RankTableFile() { unlink(path_.c_str()); }

std::string RankTableFile::text(int ranks) {
  std::string devices;
  for (int rank = 0; rank < ranks; ++rank)
    devices +=
        fmt::format(R"({}{{"device_id": "{}", "device_ip": "192.168.1.{}", "rank_id": "{}"}})",
                    rank ? ", " : "", rank, rank, rank);
  return fmt::format(R"({{"status": "completed", "version": "1.0", "server_count": "1",
    "server_list": [{{"server_id": "10.0.0.1", "device": [{}]}}]}})",
                     devices);
}

}  // namespace weft::cann
