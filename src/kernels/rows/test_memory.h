// SPDX-License-Identifier: Apache-2.0
// Memory that notices when a kernel reads or writes what it must not.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace weft::rows {

// Memory with an unmapped page behind it: reading past the last element is a crash.
class EndOfMemory {
 public:
  EndOfMemory() {
    base_ = static_cast<char*>(
        mmap(nullptr, kBytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_EQ(mprotect(base_ + kBytes, kPage, PROT_NONE), 0);
  }
  ~EndOfMemory() { munmap(base_, kBytes + kPage); }
  template <class E>
  E* put(const std::vector<E>& values) {
    const std::size_t bytes = values.size() * sizeof(E);
    EXPECT_LE(bytes, kBytes);
    char* start = base_ + kBytes - bytes;
    std::memcpy(start, values.data(), bytes);
    return reinterpret_cast<E*>(start);
  }

 private:
  static constexpr std::size_t kPage = 65536, kBytes = 1 << 20;
  char* base_;
};

// n elements, `offset` elements after a 64-byte boundary, with canaries on both sides.
template <class E>
class Canaried {
 public:
  Canaried(std::int64_t n, int offset) : n_(n), all_(n + offset + 3 * kPad) {
    std::memset(all_.data(), 0xc5, all_.size() * sizeof(E));
    start_ = kPad + offset;
    while (reinterpret_cast<std::uintptr_t>(all_.data() + start_ - offset) % 64 != 0) ++start_;
  }
  E* data() { return all_.data() + start_; }
  bool guards_intact() const {
    E canary;
    std::memset(&canary, 0xc5, sizeof(E));
    for (std::int64_t i = 0; i < std::ssize(all_); ++i)
      if ((i < start_ || i >= start_ + n_) && std::memcmp(&all_[i], &canary, sizeof(E)) != 0)
        return false;
    return true;
  }

 private:
  static constexpr int kPad = 64;
  std::int64_t n_, start_;
  std::vector<E> all_;
};

}  // namespace weft::rows
