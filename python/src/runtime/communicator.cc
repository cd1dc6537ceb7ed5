// SPDX-License-Identifier: Apache-2.0
#include "runtime/communicator.h"

#include <chrono>
#include <map>
#include <utility>

#include "runtime/interrupt.h"

namespace weft::python {
namespace {

// Names to communicators, for callers that can pass nothing but a string (PyTorch's operators).
struct Registry {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<Communicator>, std::less<>> entries;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

Status is_closed(const std::string& name) {
  return Status(StatusCode::kInvalidArgument,
                "group: '" + name + "' is closed. Form a new group, or close it later.");
}

}  // namespace

Communicator::Communicator(Context context, Group group)
    : name_(group.name()),
      key_(group.transport() == "loopback" ? name_ + "/" + std::to_string(group.rank()) : name_),
      isa_(context.isa()),
      transport_(group.transport()),
      rank_(group.rank()),
      ranks_(group.ranks()),
      threads_(context.threads()),
      context_(std::move(context)),
      group_(std::move(group)) {}

Communicator::~Communicator() {
  close();
  if (worker_.joinable()) worker_.join();
}

Result<std::shared_ptr<Communicator>> Communicator::create(Context context, Group group) {
  std::shared_ptr<Communicator> made(new Communicator(std::move(context), std::move(group)));
  const std::lock_guard lock(registry().mutex);
  std::weak_ptr<Communicator>& entry = registry().entries[made->key_];
  if (!entry.expired())
    return Status(StatusCode::kInvalidArgument,
                  "group: this process has one called '" + made->key_ +
                      "' already. Close it first, or choose another name.");
  entry = made;
  return made;
}

std::shared_ptr<Communicator> Communicator::find(std::string_view key) {
  const std::lock_guard lock(registry().mutex);
  const auto entry = registry().entries.find(key);
  return entry == registry().entries.end() ? nullptr : entry->second.lock();
}

void Communicator::await_turn(std::unique_lock<std::mutex>& lock, std::uint64_t ticket, Wait wait) {
  constexpr std::chrono::milliseconds kSlice(50);  // how late a signal is noticed
  const auto my_turn = [&] { return served_ == ticket; };
  while (!turn_.wait_for(lock, kSlice, my_turn)) {
    if (wait == Wait::kPatient) continue;
    lock.unlock();  // a handler may use this group
    if (interrupted()) abort("interrupted");
    lock.lock();
  }
}

Status Communicator::make(const Call& call) {
  return group_ ? call(context_, *group_) : is_closed(name_);
}

void Communicator::end_turn() {
  {
    const std::lock_guard lock(mutex_);
    ++served_;
  }
  turn_.notify_all();
}

Status Communicator::run(const Call& call) {
  {
    std::unique_lock lock(mutex_);
    if (closing_) return is_closed(name_);
    await_turn(lock, drawn_++, Wait::kAbortable);
  }
  Status status = make(call);
  end_turn();
  return status;
}

void Communicator::submit(Call call, Done done) {
  {
    std::unique_lock lock(mutex_);
    if (closing_) {
      lock.unlock();
      return done(is_closed(name_));
    }
    tasks_.push_back({drawn_++, std::move(call), std::move(done)});
    if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
  }
  turn_.notify_all();
}

void Communicator::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    turn_.wait(lock, [&] { return tasks_.empty() ? closing_ : tasks_.front().ticket == served_; });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    const Status status = make(task.call);
    end_turn();
    task.done(status);
    lock.lock();
  }
}

void Communicator::abort(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  const bool closed = closing_ && served_ + 1 >= drawn_;  // or it is closing's turn
  if (!closed) group_->abort(reason);
}

void Communicator::close() {
  {
    std::unique_lock lock(mutex_);
    if (closing_) return;
    closing_ = true;
    await_turn(lock, drawn_++, Wait::kPatient);
  }
  group_.reset();
  end_turn();
}

bool Communicator::closed() const {
  const std::lock_guard lock(mutex_);
  return closing_;
}

Status Communicator::health() const {
  const std::lock_guard lock(mutex_);
  return closing_ || !group_ ? is_closed(name_) : group_->health();
}

}  // namespace weft::python
