// SPDX-License-Identifier: Apache-2.0
// Work: the handle of one call on a process group, as c10d knows it.
#pragma once

#include <atomic>
#include <memory>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "runtime/communicator.h"

namespace weft::python {

class Work : public c10d::Work {
 public:
  /// `title` names it in PyTorch's profiler; `outputs` are what its future holds.
  Work(int rank, c10d::OpType type, const char* title, std::uint64_t sequence,
       std::vector<at::Tensor> outputs);

  /// Ends it, once: wakes who waits and completes the future.
  void finish(const Status& status, int source_rank = -1);
  /// Whose call it is and its number there, so that wait() can make it by itself, and give it up.
  /// Before anybody else has the work.
  void set_communicator(std::weak_ptr<Communicator> communicator, std::uint64_t number);

  bool isCompleted() override { return done_.load(std::memory_order_acquire); }
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  int sourceRank() const override;
  std::vector<at::Tensor> result() override;
  void synchronize() override { wait(); }
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override;
  void abort() override;
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  std::uint64_t getSequencenumber() const override { return sequence_; }

 private:
  void wait_slowly(std::chrono::milliseconds timeout);
  void complete_future();

  const std::uint64_t sequence_;
  const std::vector<at::Tensor> outputs_;
  std::weak_ptr<Communicator> communicator_;  // weak: its own thread may drop a work last
  std::uint64_t number_ = 0;
  std::atomic<bool> done_ = false;
  Status status_;  // written before done_
  int source_rank_ = -1;
  c10::intrusive_ptr<c10::ivalue::Future> future_;  // made when asked for; guarded by mutex_
  bool future_done_ = false;                        // guarded by mutex_
};

}  // namespace weft::python
