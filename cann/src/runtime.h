// SPDX-License-Identifier: Apache-2.0
// Virtual devices, contexts, and what is current in a thread. The C interface has one runtime per
// process, so this is the one place of weft with state of the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "acl/acl_rt.h"
#include "error.h"
#include "event.h"
#include "handle_table.h"
#include "memory_table.h"
#include "plan_pool.h"
#include "stream.h"
#include "weft/context.h"

namespace weft::cann {

class DeviceContext;

/// Work without ranks. What it plans it may keep.
using LocalWork = std::function<Status(Context&, PlanPool&)>;

/// One virtual device: a number under which a rank computes.
class VirtualDevice {
 public:
  explicit VirtualDevice(int device_id) : id(device_id) {}
  const int id;

  /// Runs work that waits for nobody, with threads of this device and the plans it kept. One at a
  /// time.
  Status run_local(const LocalWork& work);
  /// Ends those threads, and drops the plans.
  void release_threads();

 private:
  friend class Runtime;
  std::mutex mutex_;
  std::optional<Context> local_;  // made when first used
  PlanPool plans_;                // that use it
  // The rest is under the mutex of Runtime.
  int set_count_ = 0;
  int contexts_ = 0;  // that exist on it, explicit ones and the default one
  int streams_ = 0;   // that programs created
  aclrtContext default_context_ = nullptr;
};

/// A context of a device: its streams, and what has stopped them.
class DeviceContext {
 public:
  DeviceContext(VirtualDevice& on, bool default_of_device);
  VirtualDevice& device;
  const bool is_default;
  const std::shared_ptr<StopSwitch> stop;
  aclrtStream default_stream = nullptr;

  std::mutex mutex;  // of what follows
  std::map<int, std::int64_t> parameters;
};

/// A stream and the context it belongs to.
struct StreamOfContext {
  StreamOfContext(aclrtContext of, VirtualDevice& on, const std::shared_ptr<StopSwitch>& stop)
      : context(of), device(on), stream(stop) {}
  const aclrtContext context;
  VirtualDevice& device;
  Stream stream;
  bool created_by_program = false;  // else it is the default stream; set before others see it
};
using StreamRef = std::shared_ptr<StreamOfContext>;

class Runtime {
 public:
  static Runtime& instance();
  static Error no_context();

  // --- for hccl and the operators ---

  /// The device that is current in this thread; null (and a noted failure) if none is.
  VirtualDevice* current_device();
  /// The device with this number. Errors: ACL_ERROR_RT_INVALID_DEVICEID.
  Error device(int id, VirtualDevice*& found);
  /// The stream behind a handle; NULL is the current context's default stream. On failure `code` is
  /// CONTEXT_NULL, INVALID_HANDLE or STREAM_CONTEXT, noted, and the result null.
  StreamRef find_stream(aclrtStream handle, int& code);
  /// A Context for a rank that shares the host with `ranks_on_host - 1` others, or with the other
  /// devices in use, whichever are more.
  Result<Context> make_context(int ranks_on_host);

  // --- life ---

  /// Errors of all: those of the C function, as Error.
  Error init(const char* config_path);
  Error finalize();
  Error finalize_reference(std::uint64_t* left);

  // --- devices and contexts ---

  Result<int> device_count();
  /// The device's number before ASCEND_RT_VISIBLE_DEVICES renumbered it.
  Result<int> listed_number(const VirtualDevice& device);
  Error set_device(int id);
  Error reset_device(int id, bool force);
  Error create_context(int id, aclrtContext* context);
  Error destroy_context(aclrtContext context);
  Error set_current(aclrtContext context);
  /// Null if there is none or it was destroyed.
  std::shared_ptr<DeviceContext> current();
  aclrtContext current_handle();

  // --- streams and events ---

  /// find_stream() for functions that report later.
  Error stream(aclrtStream handle, StreamRef& found);
  Error create_stream(aclrtStream* stream);
  Error destroy_stream(aclrtStream stream, Stream::Rest rest);
  Error synchronise_device(int timeout_ms);

  HandleTable<Event> events;
  MemoryTable device_memory{"aclrtMalloc"}, host_memory{"aclrtMallocHost"};
  std::atomic<std::uint32_t> event_wait_timeout_s{0};

  /// Objects that programs have not released, for tests.
  struct Counts {
    std::size_t contexts, streams, events, device_blocks, host_blocks;
  };
  Counts counts() const;

 private:
  Runtime() = default;
  Result<std::vector<int>> visible();
  aclrtContext add_context(VirtualDevice& device, bool is_default);
  void remove_context(aclrtContext handle);
  void close_streams_of(aclrtContext context);

  std::mutex mutex_;
  std::uint64_t inits_ = 0;
  bool was_finalized_ = false;
  std::optional<std::vector<int>> visible_;                // read_devices()
  std::map<int, std::unique_ptr<VirtualDevice>> devices_;  // never removed: threads point to them
  HandleTable<DeviceContext> contexts_;
  HandleTable<StreamOfContext> streams_;
};

}  // namespace weft::cann
