// SPDX-License-Identifier: Apache-2.0
#include "pytorch/work.h"

#include <ATen/record_function.h>

#include "pytorch/process_group_errors.h"

namespace weft::python {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kSlice{50};  ///< how soon a wait notices a signal

// Making a profiler's range costs more than a small call, so it is made only for a profiler.
const char* title_if_profiled(const char* title) { return at::hasCallbacks() ? title : nullptr; }

Status is_late(milliseconds timeout) {
  return Status(StatusCode::kTimeout,
                "wait: the call is not over after " + std::to_string(timeout.count()) +
                    " ms. It goes on; wait longer, or abort the process group.");
}

}  // namespace

Work::Work(int rank, c10d::OpType type, const char* title, std::uint64_t sequence,
           std::vector<at::Tensor> outputs)
    : c10d::Work(rank, type, title_if_profiled(title), outputs),
      sequence_(sequence),
      outputs_(std::move(outputs)) {}

void Work::set_communicator(std::weak_ptr<Communicator> communicator, std::uint64_t number) {
  communicator_ = std::move(communicator);
  number_ = number;
}

void Work::finish(const Status& status, int source_rank) {
  {
    const std::lock_guard lock(mutex_);
    status_ = status;
    source_rank_ = source_rank;
    completed_ = true;
    if (!status.ok()) exception_ = std::make_exception_ptr(StatusError(status));
    done_.store(true, std::memory_order_release);
  }
  cv_.notify_all();
  if (recordFunctionEndCallback_) recordFunctionEndCallback_();
  complete_future();
}

void Work::complete_future() {
  {  // the call's end and getFuture() may both come here
    const std::lock_guard lock(mutex_);
    if (!future_ || !completed_ || future_done_) return;
    future_done_ = true;
  }
  if (status_.ok())
    future_->markCompleted(c10::IValue(outputs_));
  else
    future_->setError(exception_);
}

bool Work::isSuccess() const { return done_.load(std::memory_order_acquire) && status_.ok(); }

std::exception_ptr Work::exception() const {
  return done_.load(std::memory_order_acquire) ? exception_ : nullptr;
}

int Work::sourceRank() const { return source_rank_; }

std::vector<at::Tensor> Work::result() { return outputs_; }

bool Work::wait(milliseconds timeout) {
  if (!isCompleted()) {
    if (const auto communicator = communicator_.lock()) communicator->help(number_);
    wait_slowly(timeout);
  }
  throw_if_error(status_);
  return true;
}

void Work::wait_slowly(milliseconds timeout) {
  const auto begin = Clock::now();
  const bool limited = timeout > kNoTimeout;
  while (!isCompleted()) {
    {
      std::unique_lock lock(mutex_);
      const auto slice = limited ? std::min(kSlice, timeout) : kSlice;
      if (cv_.wait_for(lock, slice, [&] { return completed_; })) return;
    }
    throw_if_interrupted([&] { abort(); });
    if (limited && Clock::now() - begin >= timeout) throw StatusError(is_late(timeout));
  }
}

void Work::abort() {
  if (const auto communicator = communicator_.lock())
    communicator->abort("the program gave up a call");
}

c10::intrusive_ptr<c10::ivalue::Future> Work::getFuture() {
  {
    const std::lock_guard lock(mutex_);
    if (!future_)
      future_ =
          c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
  }
  complete_future();
  return future_;
}

}  // namespace weft::python
