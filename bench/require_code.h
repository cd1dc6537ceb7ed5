// SPDX-License-Identifier: Apache-2.0
// Ends the program if a function of CANN's C interface failed: a benchmark has nobody to tell.
#pragma once

#include <fmt/core.h>

#include <cstdlib>

#include "acl/acl.h"

namespace weft::bench {

[[noreturn]] inline void stop(const char* why) {
  fmt::print(stderr, "weft_bench: {}\n", why);
  std::exit(1);
}

inline void require_code(int code) {
  if (code == ACL_SUCCESS) return;
  const char* message = aclGetRecentErrMsg();
  stop(message ? message : "a C function failed");
}

}  // namespace weft::bench
