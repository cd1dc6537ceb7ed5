// SPDX-License-Identifier: Apache-2.0
#include "runtime.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "config.h"
#include "reports.h"

namespace weft::cann {
namespace {

constexpr int kMostStreamsOfDevice = 1984;

thread_local aclrtContext current_context = nullptr;

void close(StreamOfContext& stream, Stream::Rest rest) {
  Reports::instance().forget(&stream);
  stream.stream.close(rest);
}

Error in_task_error() {
  return {ACL_ERROR_RT_PARAM_INVALID,
          "called from a task of a stream, where waiting for streams would never end"};
}

}  // namespace

Status VirtualDevice::run_local(const LocalWork& work) {
  const std::lock_guard lock(mutex_);
  if (!local_) {
    WEFT_ASSIGN_OR_RETURN(Context made, Runtime::instance().make_context(1));
    local_.emplace(std::move(made));
  }
  return work(*local_, plans_);
}

void VirtualDevice::release_threads() {
  const std::lock_guard lock(mutex_);
  plans_.clear();
  local_.reset();
}

DeviceContext::DeviceContext(VirtualDevice& on, bool default_of_device)
    : device(on), is_default(default_of_device), stop(std::make_shared<StopSwitch>()) {}

Runtime& Runtime::instance() {
  static auto* const runtime = new Runtime;  // streams may still run while main returns
  return *runtime;
}

Error Runtime::init(const char* config_path) {
  const std::lock_guard lock(mutex_);
  if (inits_ > 0) {
    ++inits_;
    return {ACL_ERROR_REPEAT_INITIALIZE, "aclInit was called before; counted"};
  }
  MessageScope scope = MessageScope::kThread;
  if (config_path) {
    Error error = read_config(config_path, scope);
    if (!error.ok()) return error;
  }
  Result<std::vector<int>> visible = read_devices();
  if (!visible.ok()) return {ACL_ERROR_RT_PARAM_INVALID, visible.status().message()};
  visible_ = std::move(*visible);
  set_message_scope(scope);
  inits_ = 1;
  return {};
}

Error Runtime::finalize() {
  if (Stream::in_task()) return in_task_error();
  {
    const std::lock_guard lock(mutex_);
    if (inits_ == 0)
      return was_finalized_ ? Error(ACL_ERROR_REPEAT_FINALIZE, "aclFinalize was called before")
                            : Error(ACL_ERROR_UNINITIALIZE, "aclInit was not called");
    inits_ = 0;
    was_finalized_ = true;
    contexts_.clear();  // from here on nobody finds a stream
  }
  // Without the mutex: tasks that still run may need it.
  for (const StreamRef& stream : streams_.all()) close(*stream, Stream::Rest::kRun);
  // A device's work asks for the mutex while it holds the device's, so not the other way round.
  std::vector<VirtualDevice*> devices;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, device] : devices_) devices.push_back(device.get());
  }
  for (VirtualDevice* device : devices) device->release_threads();
  const std::lock_guard lock(mutex_);
  streams_.clear();
  events.clear();
  device_memory.clear();
  host_memory.clear();
  for (auto& [id, device] : devices_) {
    device->set_count_ = device->contexts_ = device->streams_ = 0;
    device->default_context_ = nullptr;
  }
  visible_.reset();
  event_wait_timeout_s = 0;
  set_message_scope(MessageScope::kThread);
  return {};
}

Error Runtime::finalize_reference(std::uint64_t* left) {
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    last = inits_ <= 1;
    if (!last) --inits_;
    if (left) *left = last ? 0 : inits_;
  }
  return last ? finalize() : Error();
}

Result<std::vector<int>> Runtime::visible() {
  const std::lock_guard lock(mutex_);
  if (!visible_) {
    WEFT_ASSIGN_OR_RETURN(visible_, read_devices());
  }
  return *visible_;
}

Result<int> Runtime::device_count() {
  WEFT_ASSIGN_OR_RETURN(const std::vector<int> devices, visible());
  return static_cast<int>(devices.size());
}

Result<int> Runtime::listed_number(const VirtualDevice& device) {
  WEFT_ASSIGN_OR_RETURN(const std::vector<int> devices, visible());
  const auto index = static_cast<std::size_t>(device.id);
  if (index >= devices.size())
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("device {} is not offered any more", device.id));
  return devices[index];
}

// The caller does not hold the mutex.
Error Runtime::device(int id, VirtualDevice*& found) {
  const Result<int> count = device_count();
  if (!count.ok()) return {ACL_ERROR_RT_PARAM_INVALID, count.status().message()};
  if (id < 0 || id >= *count)
    return {ACL_ERROR_RT_INVALID_DEVICEID,
            fmt::format("there is no device {}; devices are 0 to {} (WEFT_DEVICES, "
                        "ASCEND_RT_VISIBLE_DEVICES)",
                        id, *count - 1)};
  const std::lock_guard lock(mutex_);
  std::unique_ptr<VirtualDevice>& slot = devices_[id];
  if (!slot) slot = std::make_unique<VirtualDevice>(id);
  found = slot.get();
  return {};
}

// The caller holds the mutex.
aclrtContext Runtime::add_context(VirtualDevice& device, bool is_default) {
  auto context = std::make_shared<DeviceContext>(device, is_default);
  aclrtContext const handle = new_handle();
  context->default_stream =
      streams_.add(std::make_shared<StreamOfContext>(handle, device, context->stop));
  contexts_.add(handle, std::move(context));
  ++device.contexts_;
  return handle;
}

Error Runtime::set_device(int id) {
  VirtualDevice* found = nullptr;
  Error error = device(id, found);
  if (!error.ok()) return error;
  const std::lock_guard lock(mutex_);
  if (!found->default_context_) found->default_context_ = add_context(*found, true);
  ++found->set_count_;
  current_context = found->default_context_;
  return {};
}

Error Runtime::reset_device(int id, bool force) {
  if (Stream::in_task()) return in_task_error();
  VirtualDevice* found = nullptr;
  Error error = device(id, found);
  if (!error.ok()) return error;
  aclrtContext released = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (found->set_count_ == 0)
      return {ACL_ERROR_RT_PARAM_INVALID,
              fmt::format("device {} is not set: more resets than aclrtSetDevice", id)};
    found->set_count_ = force ? 0 : found->set_count_ - 1;
    if (found->set_count_ > 0) return {};
    released = std::exchange(found->default_context_, nullptr);
  }
  remove_context(released);
  return {};
}

Error Runtime::create_context(int id, aclrtContext* context) {
  VirtualDevice* found = nullptr;
  Error error = device(id, found);
  if (!error.ok()) return error;
  const std::lock_guard lock(mutex_);
  *context = current_context = add_context(*found, false);
  return {};
}

Error Runtime::destroy_context(aclrtContext context) {
  if (Stream::in_task()) return in_task_error();
  const std::shared_ptr<DeviceContext> found = contexts_.find(context);
  if (!found) return {ACL_ERROR_RT_PARAM_INVALID, "there is no such context"};
  if (found->is_default)
    return {ACL_ERROR_RT_PARAM_INVALID,
            "this is the default context of a device; aclrtResetDevice releases it"};
  remove_context(context);
  return {};
}

// From here on nobody finds the context; then its streams end.
void Runtime::remove_context(aclrtContext handle) {
  std::shared_ptr<DeviceContext> context;
  {
    const std::lock_guard lock(mutex_);  // create_stream() looks for the context under it
    context = contexts_.take(handle);
  }
  if (!context) return;
  close_streams_of(handle);
  VirtualDevice& device = context->device;
  bool unused = false;
  {
    const std::lock_guard lock(mutex_);
    if (device.contexts_ > 0) unused = --device.contexts_ == 0;  // aclFinalize may have been here
  }
  if (unused) device.release_threads();
}

void Runtime::close_streams_of(aclrtContext context) {
  for (const auto& [handle, stream] : streams_.entries()) {
    if (stream->context != context) continue;
    close(*stream, Stream::Rest::kRun);
    if (!streams_.take(handle)) continue;
    const std::lock_guard lock(mutex_);
    if (stream->created_by_program) --stream->device.streams_;
  }
}

Error Runtime::set_current(aclrtContext context) {
  if (!contexts_.find(context))
    return {ACL_ERROR_RT_PARAM_INVALID, "there is no such context, or it was destroyed"};
  current_context = context;
  return {};
}

std::shared_ptr<DeviceContext> Runtime::current() { return contexts_.find(current_context); }

aclrtContext Runtime::current_handle() { return current() ? current_context : nullptr; }

Error Runtime::no_context() {
  return {ACL_ERROR_RT_CONTEXT_NULL,
          "this thread has no current context, or it was destroyed; call aclrtSetDevice or "
          "aclrtSetCurrentContext in this thread"};
}

VirtualDevice* Runtime::current_device() {
  const std::shared_ptr<DeviceContext> context = current();
  if (context) return &context->device;
  fail(no_context());
  return nullptr;
}

Error Runtime::stream(aclrtStream handle, StreamRef& found) {
  const std::shared_ptr<DeviceContext> context = current();
  if (!context) return no_context();
  const StreamRef stream = streams_.find(handle ? handle : context->default_stream);
  if (!stream) return {ACL_ERROR_RT_INVALID_HANDLE, "there is no such stream, or it was destroyed"};
  if (stream->context != current_context)
    return {ACL_ERROR_RT_STREAM_CONTEXT,
            fmt::format("the stream belongs to {} context than the current one of device {}",
                        stream->device.id == context->device.id ? "another" : "another device's",
                        context->device.id)};
  found = stream;
  return {};
}

StreamRef Runtime::find_stream(aclrtStream handle, int& code) {
  StreamRef found;
  code = fail(stream(handle, found));
  return found;
}

Result<Context> Runtime::make_context(int ranks_on_host) {
  int in_use = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, device] : devices_) in_use += device->contexts_ > 0;
  }
  return Context::create({.local_ranks = std::max({1, in_use, ranks_on_host})});
}

Error Runtime::create_stream(aclrtStream* stream) {
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<DeviceContext> context = current();
  if (!context) return no_context();
  if (context->device.streams_ == kMostStreamsOfDevice)
    return {ACL_ERROR_RT_NO_STREAM_RESOURCE,
            fmt::format("device {} has {} streams, the most there can be", context->device.id,
                        kMostStreamsOfDevice)};
  auto made = std::make_shared<StreamOfContext>(current_context, context->device, context->stop);
  made->created_by_program = true;
  *stream = streams_.add(std::move(made));
  ++context->device.streams_;
  return {};
}

Error Runtime::destroy_stream(aclrtStream handle, Stream::Rest rest) {
  if (Stream::in_task()) return in_task_error();
  if (!handle) return {ACL_ERROR_INVALID_PARAM, "stream is null"};
  StreamRef found;
  Error error = stream(handle, found);
  if (!error.ok()) return error;
  if (!found->created_by_program)
    return {ACL_ERROR_RT_PARAM_INVALID, "the default stream of a context goes with the context"};
  if (!streams_.take(handle))
    return {ACL_ERROR_RT_INVALID_HANDLE, "another thread is destroying the stream"};
  close(*found, rest);
  const std::lock_guard lock(mutex_);
  --found->device.streams_;
  return {};
}

Error Runtime::synchronise_device(int timeout_ms) {
  if (Stream::in_task()) return in_task_error();
  const std::shared_ptr<DeviceContext> context = current();
  if (!context) return no_context();
  const std::int64_t end = now_ns() + std::int64_t{timeout_ms} * 1'000'000;
  Error first;
  for (const StreamRef& stream : streams_.all()) {
    if (&stream->device != &context->device) continue;
    int left = timeout_ms;
    if (timeout_ms > 0)
      left = static_cast<int>(std::max<std::int64_t>(0, (end - now_ns()) / 1'000'000));
    Error error = stream->stream.synchronise(left);
    if (first.ok()) first = std::move(error);
  }
  return first;
}

Runtime::Counts Runtime::counts() const {
  return {.contexts = contexts_.size(),
          .streams = streams_.size(),
          .events = events.size(),
          .device_blocks = device_memory.blocks(),
          .host_blocks = host_memory.blocks()};
}

}  // namespace weft::cann
