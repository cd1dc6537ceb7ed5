// SPDX-License-Identifier: Apache-2.0
// Counts what a program asks of the heap and of mmap, by taking their names in this program.
#pragma once

#include <cstdint>

namespace weft::testing {

/// False under sanitizers, which take the same names.
bool counts_memory();

struct MemoryRequests {
  std::int64_t heap = 0;  ///< malloc and all that ends there, operator new included
  std::int64_t maps = 0;  ///< mmap calls of the library and the program
};
/// Of all threads, since the program's start.
MemoryRequests memory_requests();

}  // namespace weft::testing
