// SPDX-License-Identifier: Apache-2.0
// Handles that programs hold. A handle is a number that is used once in the life of the process and
// is no address, so one that was destroyed, or never existed, is recognised without touching
// memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace weft::cann {

namespace internal {
/// Above every address of a program on 64-bit Linux; multiples of 16, as addresses of structs are.
inline constexpr std::uintptr_t kFirstHandle = 0xca00'0000'0000'0010;
inline std::atomic<std::uintptr_t> next_handle{kFirstHandle};
}  // namespace internal

inline void* new_handle() {
  return reinterpret_cast<void*>(internal::next_handle.fetch_add(16, std::memory_order_relaxed));
}

/// The objects of one kind. A shared_ptr, because one thread may destroy what another still uses:
/// the object then lives until that call is over.
template <typename Object>
class HandleTable {
 public:
  void* add(std::shared_ptr<Object> object) {
    void* const handle = new_handle();
    add(handle, std::move(object));
    return handle;
  }
  void add(void* handle, std::shared_ptr<Object> object) {
    const std::lock_guard lock(mutex_);
    objects_.emplace(handle, std::move(object));
  }
  /// Null if there is no such object.
  std::shared_ptr<Object> find(const void* handle) const {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }
  /// Removes; null if there was none, so only one of several destroyers gets the object.
  std::shared_ptr<Object> take(const void* handle) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<Object> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }
  std::vector<std::shared_ptr<Object>> all() const {
    const std::shared_lock lock(mutex_);
    std::vector<std::shared_ptr<Object>> list;
    for (const auto& [handle, object] : objects_) list.push_back(object);
    return list;
  }
  std::vector<std::pair<const void*, std::shared_ptr<Object>>> entries() const {
    const std::shared_lock lock(mutex_);
    return {objects_.begin(), objects_.end()};
  }
  std::size_t size() const {
    const std::shared_lock lock(mutex_);
    return objects_.size();
  }
  void clear() {
    std::unordered_map<const void*, std::shared_ptr<Object>> dropped;
    const std::lock_guard lock(mutex_);
    dropped.swap(objects_);
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<const void*, std::shared_ptr<Object>> objects_;
};

}  // namespace weft::cann
