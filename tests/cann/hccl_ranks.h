// SPDX-License-Identifier: Apache-2.0
// Ranks of HCCL for tests: devices of threads, or processes; and calls of collectives whose results
// are known.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "collectives_case.h"
#include "hccl/hccl.h"
#include "processes.h"

namespace weft::cann {

/// What aclGetRecentErrMsg has to say.
std::string messages();

HcclDataType type_of(DType dtype);
HcclReduceOp op_of(ReduceOp op);
/// The types that HCCL and weft both have.
const std::vector<DType>& types();

/// This rank's call of a case. What it passes beside buffers is spoilt before it returns.
HcclResult call(const testing::CollectiveCase& c, int rank, const testing::CollectiveMemory& memory,
                HcclComm comm, aclrtStream stream);

/// Each function, type and operation once or more, on this rank, each checked before the next, with
/// buffers that are spoilt as soon as the stream is synchronised.
std::vector<testing::CollectiveCase> all_kinds(int ranks, const std::vector<std::int64_t>& counts);
void run_cases(const std::vector<testing::CollectiveCase>& cases, int rank, HcclComm comm,
               aclrtStream stream);

/// A thread's device with a stream, as long as it lives.
class Device {
 public:
  explicit Device(int id);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  const int id;
  aclrtStream stream = nullptr;
  int synchronise() const { return aclrtSynchronizeStream(stream); }
};

std::vector<HcclComm> init_all(const std::vector<int>& devices);
/// Calls body(rank, device, comm) on a thread for each device; destroys the communicators.
using RankBody = std::function<void(int rank, Device& device, HcclComm comm)>;
void on_devices(int ranks, const RankBody& body);
void on_devices(const std::vector<HcclComm>& comms, const std::vector<int>& devices,
                const RankBody& body);

/// Hands a root info from one process to the others. Make it before they are forked.
class RootInfoPipes {
 public:
  explicit RootInfoPipes(int ranks);
  ~RootInfoPipes();
  RootInfoPipes(const RootInfoPipes&) = delete;
  RootInfoPipes& operator=(const RootInfoPipes&) = delete;
  /// Rank 0 makes it; the others wait for it.
  HcclRootInfo exchange(int rank) const;

 private:
  std::vector<std::array<int, 2>> pipes_;
};

/// Body of a forked rank: on device `rank`, in a communicator of all, which it leaves alone.
using ProcessBody = std::function<void(testing::Rank& rank, Device& device, HcclComm comm)>;
/// As a function for Processes. The pipes outlive it.
testing::RankFunction in_process(const RootInfoPipes& pipes, ProcessBody body);

/// A JSON rank table of one server, as a file that goes with the object.
class RankTableFile {
 public:
  explicit RankTableFile(const std::string& text);
  ~RankTableFile();
  RankTableFile(const RankTableFile&) = delete;
  RankTableFile& operator=(const RankTableFile&) = delete;
  const char* path() const { return path_.c_str(); }
  /// Rank i on device i.
  static std::string text(int ranks);

 private:
  std::string path_;
};

}  // namespace weft::cann
