// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <condition_variable>
#include <cstdint>
#include <set>
#include <utility>

namespace weft::cann {

class Turns {
 public:
  std::uint64_t take() {
    const std::lock_guard lock(mutex_);
    return taken_++;
  }
  void wait(std::uint64_t turn) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return served_ == turn; });
  }
  void over(std::uint64_t turn) {
    const std::lock_guard lock(mutex_);
    over_early_.insert(turn);
    while (over_early_.erase(served_) > 0) ++served_;
    moved_.notify_all();
  }
  bool all_over() const {
    const std::lock_guard lock(mutex_);
    return served_ == taken_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable moved_;
  std::uint64_t taken_ = 0, served_ = 0;
  std::set<std::uint64_t> over_early_;
};

namespace {

/// Over when its task ended or, if that was dropped, when it goes out of life.
class Turn {
 public:
  explicit Turn(std::shared_ptr<Turns> turns) : turns_(std::move(turns)), number_(turns_->take()) {}
  ~Turn() { end(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  void wait() { turns_->wait(number_); }
  void end() {
    if (turns_) std::exchange(turns_, nullptr)->over(number_);
  }

 private:
  std::shared_ptr<Turns> turns_;
  const std::uint64_t number_;
};

}  // namespace

Communicator::Communicator(VirtualDevice& on, Group group, Context context)
    : device(on),
      group_(std::move(group)),
      context_(std::move(context)),
      turns_(std::make_shared<Turns>()) {}

Communicator::~Communicator() = default;

Error Communicator::submit(const std::shared_ptr<Communicator>& communicator, Stream& stream,
                           Work work, OnFailure on_failure) {
  const std::lock_guard lock(communicator->submitting_);
  auto turn = std::make_shared<Turn>(communicator->turns_);
  auto task = [communicator, turn = std::move(turn), work = std::move(work)] {
    turn->wait();
    const Status status = work(communicator->context_, communicator->group_);
    turn->end();  // before a synchronise returns, so that busy() is false then
    return Error(status);
  };
  return stream.submit(std::move(task), on_failure);
}

bool Communicator::busy() const { return !turns_->all_over(); }

Communicators& Communicators::instance() {
  static auto* const communicators = new Communicators;  // streams may run while main returns
  return *communicators;
}

std::shared_ptr<Communicator> Communicators::find(std::string_view name,
                                                  const VirtualDevice& device) const {
  return table_.find(handle(name, device));
}

void* Communicators::handle(std::string_view name, const VirtualDevice& device) const {
  for (const auto& [handle, communicator] : table_.entries())
    if (&communicator->device == &device && communicator->name() == name)
      return const_cast<void*>(handle);
  return nullptr;
}

}  // namespace weft::cann
