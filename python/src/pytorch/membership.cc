// SPDX-License-Identifier: Apache-2.0
#include "pytorch/membership.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "pytorch/process_group_store.h"
#include "runtime/interrupt.h"
#include "runtime/without_gil.h"

namespace weft::python {
namespace {

using Milliseconds = std::chrono::milliseconds;

Result<Group> join(const UniqueId& id, int rank, int ranks, const std::string& name,
                   Milliseconds timeout) {
  return Group::join(id, rank, ranks,
                     {.name = name,
                      .connect_timeout_s = std::max(seconds(timeout), 0.0),
                      .exec_timeout_s = seconds(timeout),
                      .interrupted = &interrupted});
}

Result<std::shared_ptr<Communicator>> with_threads(Group group) {
  WEFT_ASSIGN_OR_RETURN(Context context, Context::create({.threads = at::get_num_threads()}));
  return Communicator::create(std::move(context), std::move(group));
}

}  // namespace

double seconds(Milliseconds timeout) {
  return timeout.count() > 0 ? 1e-3 * static_cast<double>(timeout.count()) : -1;
}

Result<std::shared_ptr<Communicator>> join_by_store(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int ranks, const std::string& name,
                                                    Milliseconds timeout) {
  Meeting meeting(store, rank, ranks, timeout);
  WEFT_ASSIGN_OR_RETURN(const std::vector<UniqueId> ids, meeting.ids(1));
  WEFT_ASSIGN_OR_RETURN(Group group, join(ids[0], rank, ranks, name, timeout));
  meeting.succeeded();
  return with_threads(std::move(group));
}

Result<std::shared_ptr<Membership>> become_member(const c10::intrusive_ptr<c10d::Store>& store,
                                                  int rank, int ranks, const std::string& name,
                                                  Milliseconds timeout) {
  Meeting meeting(store, rank, ranks, timeout);
  WEFT_ASSIGN_OR_RETURN(const std::vector<UniqueId> ids, meeting.ids(2));
  WEFT_ASSIGN_OR_RETURN(Group collectives, join(ids[0], rank, ranks, name, timeout));
  WEFT_ASSIGN_OR_RETURN(Group messages, join(ids[1], rank, ranks, name + "/messages", timeout));
  meeting.succeeded();
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<Communicator> communicator,
                        with_threads(std::move(collectives)));
  WEFT_ASSIGN_OR_RETURN(MessageQueue queue, MessageQueue::create(std::move(messages)));
  return std::make_shared<Membership>(std::move(communicator), std::move(queue));
}

Membership::Membership(std::shared_ptr<Communicator> collectives, MessageQueue messages)
    : collectives_(std::move(collectives)),
      messages_(std::make_shared<MessageQueue>(std::move(messages))) {}

Membership::~Membership() {
  const WithoutGil released;  // what is under way may need it to end
  close();
}

std::shared_ptr<MessageQueue> Membership::messages() const {
  const std::lock_guard lock(mutex_);
  return messages_;
}

void Membership::post(const Message& message, std::int64_t tag, double timeout_s,
                      MessageQueue::Done done) {
  if (const auto queue = messages()) return queue->post(message, tag, timeout_s, std::move(done));
  done(
      Status(StatusCode::kInvalidArgument, "group: '" + collectives_->name() +
                                               "' is closed. Form a new group, or close it later."),
      kAnyPeer);
}

void Membership::abort(std::string_view reason) {
  collectives_->abort(reason);
  if (const auto queue = messages()) queue->abort(reason);
}

void Membership::close() {
  collectives_->close();
  end_messages();
}

void Membership::close_within(Milliseconds grace) {
  collectives_->close_within(grace);
  end_messages();
}

void Membership::end_messages() {
  std::shared_ptr<MessageQueue> left;
  const std::lock_guard lock(mutex_);
  left.swap(messages_);
}

Status Membership::health() const {
  WEFT_RETURN_IF_ERROR(collectives_->health());
  const auto queue = messages();
  return queue ? queue->health() : Status();
}

}  // namespace weft::python
