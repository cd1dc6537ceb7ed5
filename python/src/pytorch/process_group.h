// SPDX-License-Identifier: Apache-2.0
// ProcessGroup: the backend "weft" of torch.distributed, for CPU tensors. What is said of its calls
// is in docs/python/process_group.md.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "pytorch/work.h"
#include "runtime/communicator.h"

namespace weft::python {

class ProcessGroup : public c10d::Backend {
 public:
  struct Options : c10d::Backend::Options {
    explicit Options(std::chrono::milliseconds timeout = kBackendDefaultTimeout)
        : c10d::Backend::Options("weft", timeout) {}
  };
  using Store = c10::intrusive_ptr<c10d::Store>;
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  using Milliseconds = std::chrono::milliseconds;
  using Tensors = std::vector<at::Tensor>;

  /// Forms the group with the other ranks of the store. Collective. Throws StatusError, and what
  /// the store throws.
  ProcessGroup(const Store& store, int rank, int ranks, c10::intrusive_ptr<Options> options);
  ~ProcessGroup() override;

  // process_group.cc
  const std::string getBackendName() const override { return "weft"; }
  c10::intrusive_ptr<c10d::Backend::Options> getBackendOptions() override { return options_; }
  bool supportsSplitting() const override { return true; }
  void setTimeout(Milliseconds timeout) override { options_->timeout = timeout; }
  void setSequenceNumberForGroup() override {}  // all ranks count their calls from 0
  std::uint64_t getSequenceNumberForGroup() override { return sequence_; }
  c10d::ErrorType getError() override;
  void abort() override;
  void shutdown() override;
  c10::intrusive_ptr<c10d::Backend> split(
      const Store& store, const std::vector<int>& ranks,
      const c10::intrusive_ptr<c10d::Backend::Options>& opts) override;
  c10::intrusive_ptr<c10d::Backend> merge(const Store& store,
                                          const c10::intrusive_ptr<c10d::Backend::Options>& opts,
                                          const int& rank, const int& size) override;
  WorkPtr barrier(const c10d::BarrierOptions& opts) override;
  void monitoredBarrier(const c10d::BarrierOptions& opts, bool wait_all_ranks) override;
  /// For the end of the program, see Communicator::close_within.
  void leave(Milliseconds grace) { communicator_->close_within(grace); }
  /// What torch.ops.weft takes for this group.
  const std::string& key() const { return communicator_->key(); }

  // process_group_reduce.cc
  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& opts) override;
  WorkPtr allreduce_coalesced(Tensors& tensors,
                              const c10d::AllreduceCoalescedOptions& opts) override;
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& opts) override;
  WorkPtr reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                         const c10d::ReduceScatterOptions& opts) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& opts) override;
  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& opts) override;

  // process_group_move.cc
  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& opts) override;
  WorkPtr allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                    const c10d::AllgatherOptions& opts) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input,
                          const c10d::AllgatherOptions& opts) override;
  WorkPtr allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                              const c10d::AllgatherOptions& opts) override;
  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& opts) override;
  WorkPtr gather(std::vector<Tensors>& outputs, Tensors& inputs,
                 const c10d::GatherOptions& opts) override;
  WorkPtr scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                  const c10d::ScatterOptions& opts) override;
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input,
                        std::vector<std::int64_t>& output_splits,
                        std::vector<std::int64_t>& input_splits,
                        const c10d::AllToAllOptions& opts) override;
  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& opts) override;

 private:
  /// What a call is, whatever it does.
  struct Kind {
    c10d::OpType type;
    const char* title;  ///< as PyTorch's profiler shows it
    Milliseconds timeout;
    bool async;
  };

  /// Makes the call now, or after those before it on the communicator's thread. Its work holds the
  /// outputs; what the call uses besides, it must own.
  WorkPtr start(const Kind& kind, Tensors outputs, Communicator::Call call);

  const Store store_;
  const c10::intrusive_ptr<Options> options_;
  std::shared_ptr<Communicator> communicator_;
  std::atomic<std::uint64_t> sequence_ = 0;  ///< calls so far
};

}  // namespace weft::python
