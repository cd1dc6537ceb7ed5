// SPDX-License-Identifier: Apache-2.0
#include "pytorch/process_group_store.h"

#include <ATen/Parallel.h>

#include <utility>

#include "runtime/interrupt.h"

namespace weft::python {
namespace {

constexpr const char* kArrivals = "weft/arrivals";

}  // namespace

Meeting::Meeting(c10::intrusive_ptr<c10d::Store> store, int rank, int ranks,
                 std::chrono::milliseconds timeout)
    : store_(std::move(store)), rank_(rank), timeout_(timeout) {
  // The number of this meeting: each before it has had all ranks.
  const std::int64_t before = (store_->add(kArrivals, 1) - 1) / ranks;
  key_ = "weft/ids/" + std::to_string(before);
}

Meeting::~Meeting() {
  try {
    if (rank_ == 0) store_->deleteKey(key_);
    if (!succeeded_) store_->add(kArrivals, -1);
  } catch (const std::exception&) {
    // A store that has gone, or that cannot delete, keeps nothing that anybody can still use.
  }
}

Result<std::vector<UniqueId>> Meeting::ids(int count) {
  std::vector<UniqueId> ids;
  if (rank_ == 0) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      WEFT_ASSIGN_OR_RETURN(ids.emplace_back(), UniqueId::create());
      text += ids.back().to_hex();
    }
    store_->set(key_, text);
    return ids;
  }
  try {
    store_->wait({key_}, timeout_);
  } catch (const c10::DistStoreError&) {
    return Status(StatusCode::kTimeout,
                  "process group: rank 0 has not come within " + std::to_string(timeout_.count()) +
                      " ms. See that it starts, or give init_process_group a longer timeout.");
  }
  const std::string text = store_->get_to_str(key_);
  const std::size_t digits = text.size() / static_cast<std::size_t>(count);
  for (int i = 0; i < count; ++i) {
    WEFT_ASSIGN_OR_RETURN(ids.emplace_back(), UniqueId::from_hex(std::string_view(text).substr(
                                                  static_cast<std::size_t>(i) * digits, digits)));
  }
  return ids;
}

double seconds(std::chrono::milliseconds timeout) {
  return timeout.count() > 0 ? 1e-3 * static_cast<double>(timeout.count()) : -1;
}

Result<std::shared_ptr<Communicator>> join_by_store(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int ranks, const std::string& name,
                                                    std::chrono::milliseconds timeout) {
  Meeting meeting(store, rank, ranks, timeout);
  WEFT_ASSIGN_OR_RETURN(const std::vector<UniqueId> ids, meeting.ids(1));
  WEFT_ASSIGN_OR_RETURN(Group group,
                        Group::join(ids[0], rank, ranks,
                                    {.name = name,
                                     .connect_timeout_s = std::max(seconds(timeout), 0.0),
                                     .exec_timeout_s = seconds(timeout),
                                     .interrupted = &interrupted}));
  meeting.succeeded();
  WEFT_ASSIGN_OR_RETURN(Context context, Context::create({.threads = at::get_num_threads()}));
  return Communicator::create(std::move(context), std::move(group));
}

}  // namespace weft::python
