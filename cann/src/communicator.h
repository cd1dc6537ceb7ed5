// SPDX-License-Identifier: Apache-2.0
// A rank of a communicator: what is behind HcclComm, and what operators find under its name.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "handle_table.h"
#include "runtime.h"
#include "stream.h"
#include "weft/context.h"
#include "weft/group.h"

namespace weft::cann {

/// Hands out turns and serves them in that order. A turn that is given up is passed over.
class Turns;

class Communicator {
 public:
  Communicator(VirtualDevice& on, Group group, Context context);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  VirtualDevice& device;
  const std::string& name() const { return group_.name(); }
  int rank() const { return group_.rank(); }
  int ranks() const { return group_.ranks(); }

  /// For plan(), which is local and may be called while work runs.
  Group& group() { return group_; }
  Context& context() { return context_; }

  /// Puts work into a stream. The work of a communicator runs one piece at a time and in the order
  /// in which it was submitted, whatever streams it is in, because all ranks must make their calls
  /// in the same order. `work` owns what it needs; the communicator outlives it. Errors: those of
  /// Stream::submit.
  using Work = std::function<Status(Context&, Group&)>;
  static Error submit(const std::shared_ptr<Communicator>& communicator, Stream& stream, Work work,
                      OnFailure on_failure = OnFailure::kStreamDecides);
  /// Work was submitted and is not over.
  bool busy() const;

 private:
  Group group_;
  Context context_;
  std::mutex submitting_;  // turns are taken in the order in which streams get the tasks
  const std::shared_ptr<Turns> turns_;
};

/// The communicators that exist in this process.
class Communicators {
 public:
  static Communicators& instance();
  /// Null if the handle is none.
  std::shared_ptr<Communicator> find(const void* handle) const { return table_.find(handle); }
  /// The rank on a device of the communicator with this name; null if there is none.
  std::shared_ptr<Communicator> find(std::string_view name, const VirtualDevice& device) const;
  /// The handle of find(name, device); null if there is none.
  void* handle(std::string_view name, const VirtualDevice& device) const;
  void* add(std::shared_ptr<Communicator> communicator) {
    return table_.add(std::move(communicator));
  }
  /// Null if the handle is none.
  std::shared_ptr<Communicator> take(const void* handle) { return table_.take(handle); }
  std::size_t size() const { return table_.size(); }

 private:
  HandleTable<Communicator> table_;
};

}  // namespace weft::cann
