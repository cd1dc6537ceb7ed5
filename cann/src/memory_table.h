// SPDX-License-Identifier: Apache-2.0
// The memory that programs allocated, so that a second free or a copy beyond the end is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <shared_mutex>

#include "base/memory.h"
#include "error.h"

namespace weft::cann {

class MemoryTable {
 public:
  /// `function`: what allocates here, for messages.
  explicit MemoryTable(const char* function) : function_(function) {}

  /// 64-byte aligned, `bytes` and 32 more, uninitialised.
  Error allocate(std::size_t bytes, void** memory);
  Error release(void* memory);
  /// Fails if `memory` lies in a block of this table that ends before `bytes`.
  Error check_range(const char* name, const void* memory, std::size_t bytes) const;
  std::size_t blocks() const;
  void clear();

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  struct Block {
    std::size_t bytes = 0;
    std::unique_ptr<void, Free> small;
    Buffer large;
  };
  const char* const function_;
  mutable std::shared_mutex mutex_;
  std::map<std::uintptr_t, Block> blocks_;
};

}  // namespace weft::cann
