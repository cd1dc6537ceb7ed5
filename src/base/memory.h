// SPDX-License-Identifier: Apache-2.0
// Owned, aligned scratch memory of plans.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "weft/status.h"

namespace weft {

inline constexpr std::int64_t kCacheLine = 64;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

inline constexpr std::int64_t kHugePage = 2 << 20;  ///< as page tables of x86 and Arm have them

/// Owned addresses; unmapped, with all that has been mapped there, when it goes. Move-only.
class Addresses {
 public:
  Addresses() = default;
  /// Takes over what mmap returned.
  Addresses(void* mapped, std::int64_t bytes)
      : all_(mapped), all_bytes_(bytes), data_(static_cast<std::byte*>(mapped)) {}
  /// Room from the start of a huge page, with pages on both sides that nobody may touch, so that
  /// the kernel merges no neighbour into what is mapped here (memory_use.h counts by mapping).
  /// Untouchable until something is mapped. Empty if refused: errno says why.
  static Addresses reserve(std::int64_t bytes);
  Addresses(Addresses&& other) noexcept;
  Addresses& operator=(Addresses&& other) noexcept;
  ~Addresses();
  std::byte* data() const { return data_; }

 private:
  void* all_ = nullptr;
  std::int64_t all_bytes_ = 0;
  std::byte* data_ = nullptr;
};

/// Anonymous pages (mmap), zero, with huge pages asked for: aligned to a huge page if it fills one,
/// else to a page. Move-only.
class Buffer {
 public:
  Buffer() = default;
  /// kOutOfMemory names the size and what it was for.
  static Result<Buffer> allocate(std::int64_t bytes, const char* what_for);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  std::byte* data() const { return addresses_.data(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  Addresses addresses_;
  std::int64_t bytes_ = 0;
};

}  // namespace weft
