// SPDX-License-Identifier: Apache-2.0
#include "communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <new>
#include <set>
#include <utility>

#include "comm/group_state.h"

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

Status run(const Communicator::Work& work, Communicator& communicator) {
  try {
    return work(communicator.context(), communicator.group());
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory in a task of a stream");
  }
}

/// A piece of work and its turns, in the order of the communicators.
struct Piece {
  Communicator::Several communicators;
  std::deque<Turn> turns;
  Communicator::Work work;

  Status run() {
    for (Turn& turn : turns) turn.wait();
    const Status status = cann::run(work, *communicators[0]);
    for (const auto& communicator : communicators)
      if (!status.ok()) (void)communicator->group().state().poison(status);
    // Before a synchronise returns, so that busy() is false then and nothing holds the
    // communicators.
    communicators.clear();
    for (Turn& turn : turns) turn.end();
    return status;
  }
};

}  // namespace

Communicator::Communicator(VirtualDevice& on, Group group, Context context, Origin of)
    : device(on),
      origin(of),
      group_(std::move(group)),
      context_(std::move(context)),
      turns_(std::make_shared<Turns>()) {}

Communicator::~Communicator() = default;

Error Communicator::submit(const std::shared_ptr<Communicator>& communicator, Stream& stream,
                           Work work, OnFailure on_failure) {
  return submit(Several{communicator}, stream, std::move(work), on_failure);
}

Error Communicator::submit(const Several& communicators, Stream& stream, Work work,
                           OnFailure on_failure) {
  Several in_order = communicators;
  std::ranges::sort(in_order, std::less<>());
  std::deque<std::unique_lock<std::mutex>> locks;
  for (const auto& communicator : in_order) locks.emplace_back(communicator->submitting_);
  auto piece = std::make_shared<Piece>(Piece{communicators, {}, std::move(work)});
  for (const auto& communicator : communicators) piece->turns.emplace_back(communicator->turns_);
  return stream.submit([piece = std::move(piece)] { return Error(piece->run()); }, on_failure);
}

bool Communicator::busy() const { return !turns_->all_over(); }

Communicators& Communicators::instance() {
  static auto* const communicators = new Communicators;  // streams may run while main returns
  return *communicators;
}

Communicators::Place::~Place() {
  if (!communicators_) return;
  const std::lock_guard lock(communicators_->mutex_);
  communicators_->names_.erase({&device_, name_});
}

void* Communicators::Place::fill(std::shared_ptr<Communicator> communicator) {
  const std::lock_guard lock(communicators_->mutex_);
  void* const handle = communicators_->add_locked(std::move(communicator));
  communicators_ = nullptr;
  return handle;
}

Communicators::Visit::Visit(std::shared_ptr<Communicator> communicator)
    : communicator_(std::move(communicator)) {
  if (communicator_) communicator_->visits_.fetch_add(1, std::memory_order_relaxed);
}

// Release: partner is the acquire load in take_unused().
Communicators::Visit::~Visit() {
  if (communicator_) communicator_->visits_.fetch_sub(1, std::memory_order_release);
}

Communicators::Visit Communicators::visit(const void* handle) const {
  const std::shared_lock lock(mutex_);
  return Visit(table_.find(handle));
}

std::shared_ptr<Communicator> Communicators::find(std::string_view name,
                                                  const VirtualDevice& device) const {
  return table_.find(handle(name, device));
}

void* Communicators::handle(std::string_view name, const VirtualDevice& device) const {
  const std::shared_lock lock(mutex_);
  const auto found = names_.find({&device, std::string(name)});
  return found == names_.end() ? nullptr : found->second;
}

std::unique_ptr<Communicators::Place> Communicators::reserve(const VirtualDevice& device,
                                                             std::string_view name) {
  std::unique_ptr<Place> place(new Place(device, name));
  const std::lock_guard lock(mutex_);
  if (!names_.try_emplace({&device, std::string(name)}, nullptr).second) return nullptr;
  place->communicators_ = this;
  return place;
}

void* Communicators::add(std::shared_ptr<Communicator> communicator) {
  const std::lock_guard lock(mutex_);
  return add_locked(std::move(communicator));
}

void* Communicators::add_locked(std::shared_ptr<Communicator> communicator) {
  void*& handle = names_[{&communicator->device, communicator->name()}];
  handle = table_.add(std::move(communicator));
  return handle;
}

std::shared_ptr<Communicator> Communicators::take(const void* handle) {
  const std::lock_guard lock(mutex_);
  return take_locked(handle);
}

std::shared_ptr<Communicator> Communicators::take_unused(const void* handle, bool& in_use) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<Communicator> found = table_.find(handle);
  // Visits first: what a visit submitted is seen once the visit is seen to be over.
  in_use = found && (found->visits_.load(std::memory_order_acquire) > 0 || found->busy());
  return in_use ? nullptr : take_locked(handle);
}

std::shared_ptr<Communicator> Communicators::take_locked(const void* handle) {
  std::shared_ptr<Communicator> taken = table_.take(handle);
  if (taken) names_.erase({&taken->device, taken->name()});
  return taken;
}

}  // namespace weft::cann
