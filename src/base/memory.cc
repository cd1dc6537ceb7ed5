// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <utility>

namespace weft {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

Addresses map_small(std::int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, kAnonymous, -1, 0);
  return data == MAP_FAILED ? Addresses() : Addresses(data, bytes);
}

Addresses map_huge(std::int64_t bytes) {
  Addresses addresses = Addresses::reserve(bytes);
  const auto size = static_cast<size_t>(bytes);
  if (!addresses.data() || mprotect(addresses.data(), size, PROT_READ | PROT_WRITE) != 0) return {};
  madvise(addresses.data(), size, MADV_HUGEPAGE);  // a refusal only costs speed
  return addresses;
}

}  // namespace

Addresses Addresses::reserve(std::int64_t bytes) {
  // Wherever it begins: a page, up to the next huge page, the bytes, and a page at least.
  std::int64_t all = 0;
  if (__builtin_add_overflow(round_up(bytes, kPage), kHugePage + kPage, &all)) return {};
  void* begin = mmap(nullptr, static_cast<size_t>(all), PROT_NONE, kAnonymous, -1, 0);
  if (begin == MAP_FAILED) return {};
  Addresses result(begin, all);
  const auto first = reinterpret_cast<std::intptr_t>(begin);
  result.data_ += round_up(first + kPage, kHugePage) - first;
  return result;
}

Addresses::Addresses(Addresses&& other) noexcept
    : all_(std::exchange(other.all_, nullptr)),
      all_bytes_(std::exchange(other.all_bytes_, 0)),
      data_(std::exchange(other.data_, nullptr)) {}

Addresses& Addresses::operator=(Addresses&& other) noexcept {
  std::swap(all_, other.all_);
  std::swap(all_bytes_, other.all_bytes_);
  std::swap(data_, other.data_);
  return *this;
}

Addresses::~Addresses() {
  if (all_) munmap(all_, static_cast<size_t>(all_bytes_));
}

Result<Buffer> Buffer::allocate(std::int64_t bytes, const char* what_for) {
  Buffer buffer;
  if (bytes <= 0) return buffer;
  // Small buffers stay small.
  const bool huge = bytes >= kHugePage;
  buffer.bytes_ = round_up(bytes, huge ? kHugePage : kPage);
  buffer.addresses_ = huge ? map_huge(buffer.bytes_) : map_small(buffer.bytes_);
  if (!buffer.data())
    return Status(StatusCode::kOutOfMemory, fmt::format("{} bytes for {}", bytes, what_for));
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : addresses_(std::move(other.addresses_)), bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(addresses_, other.addresses_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace weft
