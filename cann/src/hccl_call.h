// SPDX-License-Identifier: Apache-2.0
// What the functions of HCCL share: codes, and the look-up of handles.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "communicator.h"
#include "error.h"
#include "hccl/hccl_types.h"
#include "runtime.h"

namespace weft::cann {

/// HCCL's code for what weft says.
HcclResult hccl_code(StatusCode code);
inline Error hccl_error(const Status& status) {
  return status.ok() ? Error() : Error(hccl_code(status.code()), status.message());
}

inline Error null_argument(std::string_view name) {
  return {HCCL_E_PTR, fmt::format("{} is null", name)};
}

/// The body of a function of HCCL, which returns an Error with a code of HCCL: guarded.
template <typename Body>
HcclResult hccl_call(const char* function, Body&& body) {
  return static_cast<HcclResult>(
      guarded(function, HCCL_E_MEMORY, HCCL_E_INTERNAL, [&] { return fail(body()); }));
}

/// The communicator behind a handle, which stays while `visit` does.
template <typename Body>
Error with_communicator(const void* handle, Body&& body) {
  if (!handle) return null_argument("comm");
  const Communicators::Visit visit = Communicators::instance().visit(handle);
  if (!visit) return {HCCL_E_PTR, "there is no such communicator, or it was destroyed"};
  return body(visit);
}

}  // namespace weft::cann
