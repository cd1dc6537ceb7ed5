// SPDX-License-Identifier: Apache-2.0
#include "pytorch/process_group.h"

#include <algorithm>
#include <numeric>

#include "pytorch/process_group_errors.h"
#include "pytorch/process_group_store.h"
#include "runtime/without_gil.h"

namespace weft::python {
namespace {

std::shared_ptr<Communicator> formed(const ProcessGroup::Store& store, int rank, int ranks,
                                     const ProcessGroup::Options& options) {
  auto communicator = join_by_store(store, rank, ranks, options.group_name, options.timeout);
  throw_if_error(communicator.status());
  return std::move(communicator).value();
}

/// The ranks of the program at these places of a group; an empty group is the whole program.
std::vector<std::uint64_t> global_ranks(const std::vector<std::uint64_t>& group,
                                        const std::vector<int>& places) {
  std::vector<std::uint64_t> ranks;
  for (const int place : places)
    ranks.push_back(group.empty() ? static_cast<std::uint64_t>(place)
                                  : group.at(static_cast<std::size_t>(place)));
  return ranks;
}

bool are_places(const std::vector<std::uint64_t>& ranks) {
  for (std::size_t i = 0; i < ranks.size(); ++i)
    if (ranks[i] != i) return false;
  return true;
}

/// The error, and which ranks of the program the group's are, where they differ.
Status explained(const Status& status, const ProcessGroup::Options& options) {
  const std::vector<std::uint64_t>& ranks = options.global_ranks_in_group;
  if (status.ok() || are_places(ranks)) return status;
  return Status(
      status.code(),
      status.message() + c10::str("\nRanks 0 to ", ranks.size() - 1, " of the process group '",
                                  options.group_name, "' are ranks ", c10::Join(", ", ranks),
                                  " of the program."));
}

}  // namespace

ProcessGroup::ProcessGroup(const Store& store, int rank, int ranks,
                           c10::intrusive_ptr<Options> options)
    : c10d::Backend(rank, ranks),
      store_(store),
      options_(std::move(options)),
      communicator_(formed(store, rank, ranks, *options_)) {
  init();
}

ProcessGroup::~ProcessGroup() {
  const WithoutGil released;  // calls under way may need it to end
  communicator_->close();
  communicator_.reset();
}

ProcessGroup::WorkPtr ProcessGroup::start(const Kind& kind, Tensors outputs,
                                          Communicator::Call call) {
  auto work =
      c10::make_intrusive<Work>(rank_, kind.type, kind.title, ++sequence_, std::move(outputs));
  const double limit =
      seconds(kind.timeout == c10d::kUnsetTimeout ? options_->timeout : kind.timeout);
  const Communicator::Call limited = [limit, call = std::move(call)](Context& context,
                                                                     Group& group) {
    WEFT_RETURN_IF_ERROR(group.set_exec_timeout(limit));
    return call(context, group);
  };
  if (!kind.async) {
    work->finish(explained(communicator_->run(limited), *options_));
    work->wait();
    return work;
  }
  const std::uint64_t number =
      communicator_->submit(limited, [work, options = options_](const Status& status) {
        work->finish(explained(status, *options));
      });
  work->set_communicator(communicator_, number);
  return work;
}

ProcessGroup::WorkPtr ProcessGroup::barrier(const c10d::BarrierOptions& opts) {
  return start({c10d::OpType::BARRIER, "weft:barrier", opts.timeout, opts.asyncOp}, {},
               [](Context&, Group& group) { return group.barrier(); });
}

void ProcessGroup::monitoredBarrier(const c10d::BarrierOptions& opts, bool wait_all_ranks) {
  const std::string prefix = c10::str("weft/barrier/", sequence_ + 1, "/");
  if (wait_all_ranks) store_->set(prefix + std::to_string(rank_), std::string("here"));
  try {
    start({c10d::OpType::BARRIER, "weft:monitored_barrier", opts.timeout, false}, {},
          [](Context&, Group& group) { return group.barrier(); });
  } catch (StatusError& error) {
    if (!wait_all_ranks) throw;
    std::vector<int> missing;
    for (int rank = 0; rank < size_; ++rank)
      if (!store_->check({prefix + std::to_string(rank)})) missing.push_back(rank);
    if (missing.empty()) throw;
    error.msg += c10::str("\nRanks that did not come: ", c10::Join(", ", missing), ".");
    throw;
  }
}

c10d::ErrorType ProcessGroup::getError() {
  switch (communicator_->health().code()) {
    case StatusCode::kOk:
      return c10d::ErrorType::SUCCESS;
    case StatusCode::kTimeout:
      return c10d::ErrorType::TIMEOUT;
    case StatusCode::kPeerLost:
      return c10d::ErrorType::REMOTE_ERROR;
    default:
      return c10d::ErrorType::COMM_ERROR;
  }
}

void ProcessGroup::abort() { communicator_->abort("the program aborted the process group"); }

void ProcessGroup::shutdown() { communicator_->close(); }

c10::intrusive_ptr<c10d::Backend> ProcessGroup::split(
    const Store& store, const std::vector<int>& ranks,
    const c10::intrusive_ptr<c10d::Backend::Options>& opts) {
  const auto place = std::find(ranks.begin(), ranks.end(), rank_);
  if (place == ranks.end()) return nullptr;
  auto options = c10::make_intrusive<Options>(opts->timeout);
  options->group_name = opts->group_name;
  options->global_ranks_in_group = global_ranks(options_->global_ranks_in_group, ranks);
  return c10::make_intrusive<ProcessGroup>(store, static_cast<int>(place - ranks.begin()),
                                           static_cast<int>(ranks.size()), std::move(options));
}

c10::intrusive_ptr<c10d::Backend> ProcessGroup::merge(
    const Store& store, const c10::intrusive_ptr<c10d::Backend::Options>& opts, const int& rank,
    const int& size) {
  auto options = c10::make_intrusive<Options>(opts->timeout);
  options->group_name = opts->group_name;
  return c10::make_intrusive<ProcessGroup>(store, rank, size, std::move(options));
}

}  // namespace weft::python
