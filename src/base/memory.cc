// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <utility>

namespace weft {

Result<Buffer> Buffer::allocate(std::int64_t bytes, const char* what_for) {
  Buffer buffer;
  if (bytes <= 0) return buffer;
  // Huge pages need the mapping to be a multiple of them; small buffers stay small.
  constexpr std::int64_t kHugePage = 2 << 20;
  const std::int64_t mapped = round_up(bytes, bytes >= kHugePage ? kHugePage : 4096);
  void* data = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return Status(StatusCode::kOutOfMemory, fmt::format("{} bytes for {}", bytes, what_for));
  madvise(data, static_cast<size_t>(mapped), MADV_HUGEPAGE);
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.bytes_ = mapped;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace weft
