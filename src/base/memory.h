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

/// Anonymous pages (mmap), page aligned, zero, with huge pages asked for. Move-only.
class Buffer {
 public:
  Buffer() = default;
  /// kOutOfMemory names the size and what it was for.
  static Result<Buffer> allocate(std::int64_t bytes, const char* what_for);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace weft
