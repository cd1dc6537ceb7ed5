// SPDX-License-Identifier: Apache-2.0
// Streams, events and callbacks of acl/acl_rt.h.
#include <fmt/core.h>
#include <pthread.h>

#include <algorithm>
#include <climits>

#include "acl/acl_rt.h"
#include "reports.h"
#include "runtime.h"

using namespace weft::cann;

namespace {

constexpr uint32_t kLowestPriority = 7;

Runtime& runtime() { return Runtime::instance(); }

/// Calls body(stream), which returns an Error.
template <typename Body>
aclError with_stream(const char* function, aclrtStream handle, Body&& body) {
  return runtime_call(function, [&] {
    StreamRef stream;
    Error error = runtime().stream(handle, stream);
    if (error.ok()) error = body(stream);
    return fail(error);
  });
}

/// Calls body(event), which returns an Error.
template <typename Body>
aclError with_event(const char* function, aclrtEvent handle, Body&& body) {
  return runtime_call(function, [&] {
    if (!handle) return fail(ACL_ERROR_INVALID_PARAM, "event is null");
    const std::shared_ptr<Event> event = runtime().events.find(handle);
    if (!event)
      return fail(ACL_ERROR_RT_INVALID_HANDLE, "there is no such event, or it was destroyed");
    return fail(body(event));
  });
}

Error null_pointer(const char* name) {
  return {ACL_ERROR_INVALID_PARAM, fmt::format("{} is null", name)};
}

Error check_wait(int timeout_ms) {
  if (Stream::in_task())
    return {ACL_ERROR_RT_PARAM_INVALID,
            "called from a task of a stream, where waiting for streams could never end"};
  if (timeout_ms < kForever)
    return {ACL_ERROR_RT_PARAM_INVALID,
            fmt::format("timeout is {} but must be -1 or milliseconds", timeout_ms)};
  return {};
}

int create_event(aclrtEvent* event, uint32_t flag) {
  if (!event) return fail(null_pointer("event"));
  constexpr uint32_t kKnown =
      ACL_EVENT_SYNC | ACL_EVENT_CAPTURE_STREAM_PROGRESS | ACL_EVENT_TIME_LINE;
  if (flag == 0 || (flag & ~kKnown) != 0)
    return fail(ACL_ERROR_RT_PARAM_INVALID, fmt::format("flag is {:#x}", flag));
  if (!runtime().current()) return fail(Runtime::no_context());
  *event = runtime().events.add(std::make_shared<Event>((flag & ACL_EVENT_TIME_LINE) != 0));
  return ACL_SUCCESS;
}

aclError synchronise_stream(const char* function, aclrtStream handle, int timeout_ms) {
  return with_stream(function, handle, [&](const StreamRef& stream) {
    Error error = check_wait(timeout_ms);
    return error.ok() ? stream->stream.synchronise(timeout_ms) : error;
  });
}

aclError synchronise_event(const char* function, aclrtEvent handle, int timeout_ms) {
  return with_event(function, handle, [&](const std::shared_ptr<Event>& event) {
    Error error = check_wait(timeout_ms);
    if (!error.ok() || event->wait(event->recorded(), timeout_ms)) return error;
    return Error(ACL_ERROR_RT_EVENT_SYNC_TIMEOUT,
                 fmt::format("the event is not complete after {} ms", timeout_ms));
  });
}

Error wait_in_stream(const std::shared_ptr<Event>& event, std::uint64_t record) {
  const std::uint32_t seconds = runtime().event_wait_timeout_s;
  constexpr std::uint32_t kMost = INT_MAX / 1000;  // 24 days
  const int timeout_ms =
      seconds == 0 ? kForever : static_cast<int>(std::min(seconds, kMost) * 1000);
  if (event->wait(record, timeout_ms)) return {};
  return {ACL_ERROR_RT_WAIT_TIMEOUT,
          fmt::format("a stream waited {} s for an event (aclrtSetOpWaitTimeout)", seconds)};
}

}  // namespace

aclError aclrtCreateStream(aclrtStream* stream) {
  return runtime_call("aclrtCreateStream", [&] {
    return fail(stream ? runtime().create_stream(stream) : null_pointer("stream"));
  });
}

aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t priority, uint32_t) {
  return runtime_call("aclrtCreateStreamWithConfig", [&] {
    if (!stream) return fail(null_pointer("stream"));
    if (priority > kLowestPriority)
      return fail(ACL_ERROR_RT_PARAM_INVALID,
                  fmt::format("priority is {} but must be 0 to {}", priority, kLowestPriority));
    return fail(runtime().create_stream(stream));
  });
}

aclError aclrtDestroyStream(aclrtStream stream) {
  return runtime_call("aclrtDestroyStream",
                      [&] { return fail(runtime().destroy_stream(stream, Stream::Rest::kRun)); });
}

aclError aclrtDestroyStreamForce(aclrtStream stream) {
  return runtime_call("aclrtDestroyStreamForce",
                      [&] { return fail(runtime().destroy_stream(stream, Stream::Rest::kDrop)); });
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
  return synchronise_stream("aclrtSynchronizeStream", stream, kForever);
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) {
  return synchronise_stream("aclrtSynchronizeStreamWithTimeout", stream, timeout);
}

aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus* status) {
  return with_stream("aclrtStreamQuery", stream, [&](const StreamRef& found) {
    if (!status) return null_pointer("status");
    *status = found->stream.idle() ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
    return Error();
  });
}

aclError aclrtStreamAbort(aclrtStream stream) {
  return with_stream("aclrtStreamAbort", stream, [](const StreamRef& found) {
    found->stream.abort();
    return Error();
  });
}

aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode) {
  return with_stream("aclrtSetStreamFailureMode", stream, [&](const StreamRef& found) -> Error {
    if (mode != ACL_CONTINUE_ON_FAILURE && mode != ACL_STOP_ON_FAILURE)
      return {ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no mode {}", mode)};
    if (!found->stream.set_failure_mode(mode == ACL_STOP_ON_FAILURE))
      return {ACL_ERROR_RT_PARAM_INVALID, "the stream's failure mode was set before"};
    return {};
  });
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
  return with_event("aclrtStreamWaitEvent", event, [&](const std::shared_ptr<Event>& found) {
    StreamRef target;
    Error error = runtime().stream(stream, target);
    const std::uint64_t record = found->recorded();
    if (!error.ok() || record == 0) return error;
    return target->stream.submit([found, record] { return wait_in_stream(found, record); });
  });
}

aclError aclrtCreateEvent(aclrtEvent* event) {
  return runtime_call("aclrtCreateEvent",
                      [&] { return create_event(event, ACL_EVENT_SYNC | ACL_EVENT_TIME_LINE); });
}

aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag) {
  return runtime_call("aclrtCreateEventWithFlag", [&] { return create_event(event, flag); });
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag) {
  return runtime_call("aclrtCreateEventExWithFlag", [&] { return create_event(event, flag); });
}

aclError aclrtDestroyEvent(aclrtEvent event) {
  return runtime_call("aclrtDestroyEvent", [&] {
    if (!event) return fail(null_pointer("event"));
    if (runtime().events.take(event)) return ACL_SUCCESS;
    return fail(ACL_ERROR_RT_INVALID_HANDLE, "there is no such event, or it was destroyed");
  });
}

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  return with_event("aclrtRecordEvent", event, [&](const std::shared_ptr<Event>& found) {
    StreamRef target;
    Error error = runtime().stream(stream, target);
    return error.ok() ? Event::record(found, target->stream) : error;
  });
}

aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status) {
  return with_event("aclrtQueryEventStatus", event, [&](const std::shared_ptr<Event>& found) {
    if (!status) return null_pointer("status");
    *status = found->complete() ? ACL_EVENT_RECORDED_STATUS_COMPLETE
                                : ACL_EVENT_RECORDED_STATUS_NOT_READY;
    return Error();
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent event) {
  return synchronise_event("aclrtSynchronizeEvent", event, kForever);
}

aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout) {
  return synchronise_event("aclrtSynchronizeEventWithTimeout", event, timeout);
}

aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent) {
  return with_event("aclrtEventElapsedTime", startEvent, [&](const auto& start) -> Error {
    if (!ms) return null_pointer("ms");
    if (!endEvent) return null_pointer("endEvent");
    const std::shared_ptr<Event> end = runtime().events.find(endEvent);
    if (!end) return {ACL_ERROR_RT_INVALID_HANDLE, "there is no such event, or it was destroyed"};
    const auto from = start->time_ns(), to = end->time_ns();
    if (!from || !to)
      return {ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
              "an event is not recorded, not complete, or was made without ACL_EVENT_TIME_LINE"};
    if (*to < *from)
      return {ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL, "endEvent was complete before startEvent"};
    *ms = static_cast<float>(static_cast<double>(*to - *from) * 1e-6);
    return {};
  });
}

aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void* args) {
  return with_stream("aclrtLaunchHostFunc", stream, [&](const StreamRef& found) {
    if (!fn) return null_pointer("fn");
    return found->stream.submit([fn, args] {
      fn(args);
      return Error();
    });
  });
}

aclError aclrtLaunchCallback(aclrtCallback fn, void* userData, aclrtCallbackBlockType blockType,
                             aclrtStream stream) {
  return with_stream("aclrtLaunchCallback", stream, [&](const StreamRef& found) -> Error {
    if (!fn) return null_pointer("fn");
    const int block = number_of(blockType);
    if (block != ACL_CALLBACK_NO_BLOCK && block != ACL_CALLBACK_BLOCK)
      return {ACL_ERROR_RT_PARAM_INVALID, fmt::format("there is no blockType {}", block)};
    if (!Reports::instance().subscribed(found))
      return {ACL_ERROR_RT_STREAM_NO_CB_REG, "no thread is subscribed to the stream"};
    return found->stream.submit([fn, userData, block, stream = found.get()] {
      return Reports::instance().deliver(stream, fn, userData, block == ACL_CALLBACK_BLOCK);
    });
  });
}

aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream) {
  return with_stream("aclrtSubscribeReport", stream, [&](const StreamRef& found) {
    return Reports::instance().subscribe(threadId, found);
  });
}

aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream) {
  return with_stream("aclrtUnSubscribeReport", stream, [&](const StreamRef& found) {
    return Reports::instance().unsubscribe(threadId, found);
  });
}

aclError aclrtProcessReport(int32_t timeout) {
  return runtime_call("aclrtProcessReport", [&] {
    Error error = check_wait(timeout);
    if (!error.ok()) return fail(error);
    return fail(Reports::instance().process(static_cast<uint64_t>(pthread_self()), timeout));
  });
}
