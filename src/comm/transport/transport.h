// SPDX-License-Identifier: Apache-2.0
// How the ranks of a group reach each other's memory, and how they learn that one is gone.
// Counters, waiting and poison are the same code over every transport (group_state.cc).
#pragma once

#include <cstddef>
#include <string_view>

namespace weft::internal {

struct ControlBlock;
struct PairBlock;

/// One rank's shared memory as mapped here.
struct Segment {
  ControlBlock* control = nullptr;
  PairBlock* pairs = nullptr;  ///< one for each rank
  std::byte* window = nullptr;
  std::byte* mail = nullptr;
};

class Transport {
 public:
  virtual ~Transport() = default;
  /// "loopback", "shm".
  virtual std::string_view name() const = 0;
  virtual const Segment& segment(int rank) const = 0;
  /// Looks for processes that have ended since the last look: one system call whatever the number
  /// of ranks. Any thread may call it.
  virtual void look_for_ended_processes() = 0;
  /// False once a look has found that the rank's process has ended. A rank that left in order says
  /// so in its control block.
  virtual bool alive(int rank) const = 0;
  /// Futexes of this transport's memory are private to one process.
  virtual bool private_futex() const = 0;
};

}  // namespace weft::internal
