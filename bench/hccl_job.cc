// SPDX-License-Identifier: Apache-2.0
#include "hccl_job.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "hccl/hccl.h"
#include "random_bytes.h"
#include "require_code.h"
#include "weft/trace.h"

namespace weft::bench {

struct HcclJob::Command {
  HcclDataType type;
  std::int64_t bytes;  ///< 0: a task that does nothing
  int count;
};

namespace {

struct Interval {
  std::int64_t begin_ns, end_ns;
};

template <typename T>
void put(int channel, const T& value) {
  if (write(channel, &value, sizeof(value)) != static_cast<ssize_t>(sizeof(value)))
    stop("a process of the HCCL section is gone");
}

/// False at the end.
template <typename T>
bool get(int channel, T& value) {
  return recv(channel, &value, sizeof(value), MSG_WAITALL) == static_cast<ssize_t>(sizeof(value));
}

class RankProcess {
 public:
  RankProcess(int rank, int ranks, int channel) : channel_(channel) {
    require_code(aclInit(nullptr));
    require_code(aclrtSetDevice(rank));
    require_code(aclrtCreateStream(&stream_));
    HcclRootInfo root;
    if (rank == 0) {
      require_code(HcclGetRootInfo(&root));
      put(channel_, root);
    } else if (!get(channel_, root)) {
      stop("no root info");
    }
    require_code(HcclCommInitRootInfo(static_cast<uint32_t>(ranks), &root,
                                      static_cast<uint32_t>(rank), &comm_));
    for (void** buffer : {&send_, &recv_})
      require_code(aclrtMalloc(buffer, HcclJob::kMostBytes, ACL_MEM_MALLOC_HUGE_FIRST));
    fill_random(recv_, HcclJob::kMostBytes, DType::kFloat32, 0);
    seed_ = static_cast<unsigned>(rank);
  }
  ~RankProcess() {
    HcclCommDestroy(comm_);
    aclFinalize();
  }
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  Interval run(const HcclJob::Command& command) {
    const auto& [type, bytes, count] = command;
    if (type != filled_)
      fill_random(send_, HcclJob::kMostBytes,
                  type == HCCL_DATA_TYPE_FP16 ? DType::kFloat16 : DType::kBFloat16, seed_);
    filled_ = type;
    step(type, bytes);
    require_code(HcclBarrier(comm_, stream_));
    require_code(aclrtSynchronizeStream(stream_));
    const std::int64_t begin = trace_now_ns();
    for (int i = 0; i < count; ++i) step(type, bytes);
    return {begin, trace_now_ns()};
  }

 private:
  void step(HcclDataType type, std::int64_t bytes) {
    const auto nothing = [](void*) {};
    if (bytes == 0)
      require_code(aclrtLaunchHostFunc(stream_, nothing, nullptr));
    else
      require_code(HcclAllReduce(send_, recv_, static_cast<uint64_t>(bytes / 2), type,
                                 HCCL_REDUCE_SUM, comm_, stream_));
    require_code(aclrtSynchronizeStream(stream_));
  }

  const int channel_;
  aclrtStream stream_ = nullptr;
  HcclComm comm_ = nullptr;
  void *send_ = nullptr, *recv_ = nullptr;
  HcclDataType filled_ = HCCL_DATA_TYPE_RESERVED;
  unsigned seed_ = 0;
};

}  // namespace

HcclJob::HcclJob(int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) stop("socketpair failed");
    const std::string number = std::to_string(rank), count = std::to_string(ranks);
    const pid_t process = fork();
    if (process < 0) stop("fork failed");
    if (process == 0) {
      const std::string channel = std::to_string(dup(ends[1]));  // without CLOEXEC
      execl("/proc/self/exe", "weft_bench", kHcclRank, number.c_str(), count.c_str(),
            channel.c_str(), nullptr);
      std::_Exit(1);
    }
    close(ends[1]);
    ranks_.push_back({process, internal::UniqueFd(ends[0])});
  }
  HcclRootInfo root;
  if (!get(ranks_[0].channel.get(), root)) stop("no root info");
  for (int rank = 1; rank < ranks; ++rank)
    put(ranks_[static_cast<size_t>(rank)].channel.get(), root);
}

HcclJob::~HcclJob() {
  for (Rank& rank : ranks_) rank.channel.reset();
  for (const Rank& rank : ranks_) waitpid(rank.process, nullptr, 0);
}

double HcclJob::allreduce(DType dtype, std::int64_t bytes, int count) {
  return run({dtype == DType::kFloat16 ? HCCL_DATA_TYPE_FP16 : HCCL_DATA_TYPE_BFP16, bytes, count});
}

double HcclJob::hand_off(int count) { return run({HCCL_DATA_TYPE_FP16, 0, count}); }

double HcclJob::run(const Command& command) {
  for (const Rank& rank : ranks_) put(rank.channel.get(), command);
  std::int64_t begin = INT64_MAX, end = 0;
  for (const Rank& rank : ranks_) {
    Interval interval;
    if (!get(rank.channel.get(), interval)) stop("a process of the HCCL section ended");
    begin = std::min(begin, interval.begin_ns);
    end = std::max(end, interval.end_ns);
  }
  return static_cast<double>(end - begin) * 1e-9 / command.count;
}

int serve_hccl_rank(char** argv) {
  const int channel = std::atoi(argv[4]);
  RankProcess rank(std::atoi(argv[2]), std::atoi(argv[3]), channel);
  for (HcclJob::Command command; get(channel, command);) put(channel, rank.run(command));
  return 0;
}

}  // namespace weft::bench
