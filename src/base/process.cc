// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

namespace weft {
namespace {

using Number = std::atomic<std::int32_t>;

// On a page that is zero in a forked child, whatever it was here (Linux 4.14). Null if the kernel
// has no such pages.
Number* number_that_forks_lose() {
  constexpr std::size_t kPage = 4096;
  void* const page =
      mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (madvise(page, kPage, MADV_WIPEONFORK) == 0) return new (page) Number(0);
  munmap(page, kPage);
  return nullptr;
}

}  // namespace

std::int32_t this_process() {
  static Number* const known = number_that_forks_lose();
  if (!known) return getpid();
  std::int32_t number = known->load(std::memory_order_relaxed);
  if (number == 0) known->store(number = getpid(), std::memory_order_relaxed);
  return number;
}

}  // namespace weft
