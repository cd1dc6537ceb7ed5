// SPDX-License-Identifier: Apache-2.0
// In every test program: problems are small there, and all threads must meet them.
#include "base/thread_pool.h"

namespace {

[[maybe_unused]] const bool kShared = [] {
  weft::ThreadPool::share_every_loop(true);
  return true;
}();

}  // namespace
