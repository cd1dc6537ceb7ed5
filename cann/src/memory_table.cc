// SPDX-License-Identifier: Apache-2.0
#include "memory_table.h"

#include <fmt/core.h>

#include <mutex>

namespace weft::cann {
namespace {

constexpr std::size_t kSlackBytes = 32;  // kernels of NPUs may read a block further
constexpr std::size_t kLargeBytes = std::size_t{1} << 21;  // a huge page
constexpr std::size_t kMostBytes = std::size_t{1} << 62;

}  // namespace

Error MemoryTable::allocate(std::size_t bytes, void** memory) {
  const Error none(ACL_ERROR_RT_MEMORY_ALLOCATION, fmt::format("cannot allocate {} bytes", bytes));
  if (bytes > kMostBytes) return none;
  const auto padded = static_cast<std::size_t>(
      round_up(static_cast<std::int64_t>(bytes + kSlackBytes), kCacheLine));
  Block block{.bytes = padded};
  void* address = nullptr;
  if (padded >= kLargeBytes) {
    Result<Buffer> buffer = Buffer::allocate(static_cast<std::int64_t>(padded), function_);
    if (!buffer.ok()) return {none.code, buffer.status().message()};
    block.large = std::move(buffer).value();
    address = block.large.data();
  } else {
    block.small.reset(std::aligned_alloc(kCacheLine, padded));
    address = block.small.get();
    if (!address) return none;
  }
  const std::lock_guard lock(mutex_);
  blocks_.emplace(reinterpret_cast<std::uintptr_t>(address), std::move(block));
  *memory = address;
  return {};
}

Error MemoryTable::release(void* memory) {
  Block block;  // freed without the mutex: unmapping takes its time
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == blocks_.end())
    return {ACL_ERROR_RT_PARAM_INVALID,
            fmt::format("{} did not come from {}, or was freed before", memory, function_)};
  block = std::move(found->second);
  blocks_.erase(found);
  return {};
}

Error MemoryTable::check_range(const char* name, const void* memory, std::size_t bytes) const {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::shared_lock lock(mutex_);
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) return {};
  --block;
  const std::uintptr_t end = block->first + block->second.bytes;
  if (address >= end || bytes <= end - address) return {};
  return {ACL_ERROR_RT_PARAM_INVALID,
          fmt::format("{} is {} bytes before the end of its memory, but {} bytes are asked for",
                      name, end - address, bytes)};
}

std::size_t MemoryTable::blocks() const {
  const std::shared_lock lock(mutex_);
  return blocks_.size();
}

void MemoryTable::clear() {
  std::map<std::uintptr_t, Block> dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(blocks_);
}

}  // namespace weft::cann
