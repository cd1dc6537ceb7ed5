// SPDX-License-Identifier: Apache-2.0
#include "runtime/communicator.h"

#include <unistd.h>

#include <chrono>
#include <map>
#include <utility>

#include "runtime/interrupt.h"
#include "runtime/without_gil.h"

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
      process_(getpid()),
      context_(std::move(context)),
      group_(std::move(group)) {}

Communicator::~Communicator() {
  if (process_ != getpid()) {
    if (worker_.joinable()) worker_.detach();
    return;
  }
  const WithoutGil released;  // calls under way may need it to end
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

std::uint64_t Communicator::submit(Call call, Done done) {
  std::uint64_t number = 0;
  {
    std::unique_lock lock(mutex_);
    if (closing_) {
      lock.unlock();
      done(is_closed(name_));
      return number;
    }
    number = drawn_++;
    tasks_.push_back({number, std::move(call), std::move(done)});
    if (!worker_.joinable()) worker_ = std::thread([this] { work(); });
  }
  turn_.notify_all();
  return number;
}

void Communicator::make_task(std::unique_lock<std::mutex>& lock) {
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  lock.unlock();
  const Status status = make(task.call);
  end_turn();
  task.done(status);
  task = {};  // what it holds may need the lock
  lock.lock();
}

void Communicator::help(std::uint64_t number) {
  std::unique_lock lock(mutex_);
  while (has_turn() && tasks_.front().ticket <= number) make_task(lock);
}

void Communicator::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    turn_.wait(lock, [&] { return tasks_.empty() ? closing_ : has_turn(); });
    if (tasks_.empty()) return;
    make_task(lock);
  }
}

void Communicator::abort(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  if (group_) group_->abort(reason);
}

void Communicator::close() {
  std::optional<Group> left;
  {
    std::unique_lock lock(mutex_);
    if (closing_) return;
    closing_ = true;
    await_turn(lock, drawn_++, Wait::kPatient);
    left.swap(group_);
  }
  left.reset();
  end_turn();
}

void Communicator::close_within(std::chrono::milliseconds grace) {
  {
    std::unique_lock lock(mutex_);
    if (!turn_.wait_for(lock, grace, [&] { return served_ == drawn_; }) && group_)
      group_->abort("the program ended");
  }
  close();
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
