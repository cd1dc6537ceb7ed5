// SPDX-License-Identifier: Apache-2.0
// A rank of a communicator: what is behind HcclComm, and what operators find under its name.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "handle_table.h"
#include "plan_pool.h"
#include "runtime.h"
#include "stream.h"
#include "weft/context.h"
#include "weft/group.h"

namespace weft::cann {

/// Hands out turns and serves them in that order. A turn that is given up is passed over.
class Turns;

/// What a communicator can be split by.
struct Origin {
  UniqueId id;  ///< the members' common secret
  bool is_split = false;
};

class Communicator {
 public:
  Communicator(VirtualDevice& on, Group group, Context context, Origin origin = {});
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  VirtualDevice& device;
  const Origin origin;
  const std::string& name() const { return group_.name(); }
  int rank() const { return group_.rank(); }
  int ranks() const { return group_.ranks(); }

  /// For plan(), which is local and may be called while work runs.
  Group& group() { return group_; }
  Context& context() { return context_; }

  /// Puts work into a stream. The work of a communicator runs one piece at a time and in the order
  /// in which it was submitted, whatever streams it is in, because all ranks must make their calls
  /// in the same order. A failure makes the group unusable, whatever it is: the peers would wait
  /// for a call that nobody can make again. `work` owns what it needs; the communicator outlives
  /// it. Errors: those of Stream::submit.
  using Work = std::function<Status(Context&, Group&)>;
  static Error submit(const std::shared_ptr<Communicator>& communicator, Stream& stream, Work work,
                      OnFailure on_failure = OnFailure::kStreamDecides);
  /// Work that uses several communicators, each of them once: it takes its turn in all, `work` is
  /// given the first's context and group, and a failure makes all of them unusable.
  ///
  /// Turns never wait in a circle. A submission has the mutexes of all its communicators, locked in
  /// the order of their addresses, while it takes its turns and enters the stream. So of two pieces
  /// of work that share a communicator or a stream, one is first everywhere, which orders all work
  /// of the process in time; a piece waits for earlier ones only.
  using Several = std::vector<std::shared_ptr<Communicator>>;
  static Error submit(const Several& communicators, Stream& stream, Work work,
                      OnFailure on_failure = OnFailure::kStreamDecides);
  /// Work was submitted and is not over.
  bool busy() const;

 private:
  friend class Communicators;
  Group group_;
  Context context_;
  std::mutex submitting_;  // turns are taken in the order in which streams get the tasks
  const std::shared_ptr<Turns> turns_;
  std::atomic<int> visits_{0};

 public:
  PlanPool plans;  ///< last, and so destroyed before the group and the context they use
};

/// The communicators that exist in this process. A device holds one rank of a name at most.
class Communicators {
 public:
  /// A name on a device, taken before the ranks meet; given back unless it is filled.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    /// The handle.
    void* fill(std::shared_ptr<Communicator> communicator);

   private:
    friend class Communicators;
    Place(const VirtualDevice& device, std::string_view name) : device_(device), name_(name) {}
    Communicators* communicators_ = nullptr;  // null while the name is not this one's to give back
    const VirtualDevice& device_;
    const std::string name_;
  };

  /// A call that uses a communicator; it is not destroyed meanwhile.
  class Visit {
   public:
    Visit() = default;
    explicit Visit(std::shared_ptr<Communicator> communicator);
    ~Visit();
    Visit(Visit&& other) noexcept = default;
    Visit& operator=(Visit&& other) = delete;
    explicit operator bool() const { return communicator_ != nullptr; }
    Communicator& operator*() const { return *communicator_; }
    Communicator* operator->() const { return communicator_.get(); }
    const std::shared_ptr<Communicator>& get() const { return communicator_; }

   private:
    std::shared_ptr<Communicator> communicator_;
  };

  static Communicators& instance();
  /// Null if the handle is none.
  std::shared_ptr<Communicator> find(const void* handle) const { return table_.find(handle); }
  Visit visit(const void* handle) const;
  /// The rank on a device of the communicator with this name; null if there is none.
  std::shared_ptr<Communicator> find(std::string_view name, const VirtualDevice& device) const;
  /// The handle of find(name, device); null if there is none.
  void* handle(std::string_view name, const VirtualDevice& device) const;

  /// Null if the device holds, or is about to hold, a rank of that name.
  std::unique_ptr<Place> reserve(const VirtualDevice& device, std::string_view name);
  /// For a name that nobody else has.
  void* add(std::shared_ptr<Communicator> communicator);
  /// Null if the handle is none.
  std::shared_ptr<Communicator> take(const void* handle);
  /// take() unless a call uses it or work is not over; then `in_use`, and null.
  std::shared_ptr<Communicator> take_unused(const void* handle, bool& in_use);
  std::size_t size() const { return table_.size(); }

 private:
  using Key = std::pair<const VirtualDevice*, std::string>;
  std::shared_ptr<Communicator> take_locked(const void* handle);
  void* add_locked(std::shared_ptr<Communicator> communicator);

  mutable std::shared_mutex mutex_;  // visits begin shared, so that none begins while one is taken
  HandleTable<Communicator> table_;
  std::map<Key, void*> names_;  // null until the place is filled
};

}  // namespace weft::cann
