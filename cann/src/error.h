// SPDX-License-Identifier: Apache-2.0
// How the C functions say what went wrong: a code, and a message that waits for aclGetRecentErrMsg.
#pragma once

#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "acl/acl_base.h"
#include "weft/status.h"

namespace weft::cann {

/// A failure without a thread to report to yet: of a task, or of a function that others call.
struct Error {
  int code = ACL_SUCCESS;
  std::string message;
  Error() = default;
  Error(int error_code, std::string text) : code(error_code), message(std::move(text)) {}
  /// With the runtime's code for it, see task_code.
  Error(const Status& status);
  bool ok() const { return code == ACL_SUCCESS; }
};

/// The code that a synchronise returns for a task that failed: kTimeout AICORE_TIMEOUT,
/// kOutOfMemory MEMORY_ALLOCATION, kPeerLost AICPU_EXCEPTION, kInternal INTERNAL_ERROR, the rest
/// AICORE_EXCEPTION.
int task_code(StatusCode code);

/// Names the function of the interface that this thread is in, for the messages of fail().
class Entry {
 public:
  explicit Entry(const char* function);
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  const char* outer_;
};

/// Notes "<function>: error <code>: <message>" for aclGetRecentErrMsg and returns the code.
int fail(int code, const std::string& message);
inline int fail(const Error& error) {
  return error.ok() ? error.code : fail(error.code, error.message);
}

/// Whose messages aclGetRecentErrMsg gives.
enum class MessageScope { kThread, kProcess };
void set_message_scope(MessageScope scope);
/// Newest first, one a line; forgets them. Empty if there are none.
std::string take_messages();

/// The last code that a function of the runtime returned in this thread.
int last_error();
void set_last_error(int code);

/// Runs the body of a C function: nothing is thrown over the edge.
template <typename Body>
int guarded(const char* function, int no_memory, int broken, Body&& body) {
  const Entry entry(function);
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(no_memory, "out of memory");
  } catch (const std::exception& error) {
    return fail(broken, error.what());
  }
}

/// The body of a function of the runtime (acl*): guarded, and its code becomes last_error().
template <typename Body>
aclError runtime_call(const char* function, Body&& body) {
  const int code = guarded(function, ACL_ERROR_RT_MEMORY_ALLOCATION,
                           ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, std::forward<Body>(body));
  if (code != ACL_SUCCESS) set_last_error(code);
  return code;
}

/// The number in an enum of the C headers, which may be none of its values: reading it as the enum
/// would be undefined.
template <typename Enum>
int number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number;
  std::memcpy(&number, &value, sizeof(number));
  return number;
}

}  // namespace weft::cann
