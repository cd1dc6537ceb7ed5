// SPDX-License-Identifier: Apache-2.0
// Context: what a rank computes with. Threads, the instruction sets it may use, scratch memory.
#pragma once

#include <memory>
#include <string>

#include "weft/export.h"
#include "weft/status.h"

namespace weft {

struct ContextOptions {
  /// Threads of this rank, the calling one included. 0: usable cores / local_ranks, at least 1.
  /// Usable means: this process's affinity mask and its cgroup's quota.
  int threads = 0;
  /// Ranks that share those cores: all of the host, or 1 where a launcher has bound every rank to
  /// cpus of its own (docs/binding.md).
  int local_ranks = 1;
  /// Caps the instruction sets: "scalar", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx".
  /// Empty: WEFT_ISA, else everything the CPU and the operating system allow. Unknown: an error.
  std::string isa = {};
  /// Binds each thread to one cpu of the affinity mask, the thread that creates the Context
  /// included. Each of the local_ranks gets cpus of its own, in one NUMA node where the ranks can
  /// be dealt out so, one of each core first. Off by default: with more ranks than cores it hurts.
  bool pin_threads = false;
  /// Which of the local_ranks this is, so that pinned ranks get different cpus.
  int local_rank = 0;
};

namespace internal {
class ContextState;
}

/// Owns the threads and the scratch memory of all calls: as much as the largest plans so far have
/// asked for, until it is destroyed (a plan that was made before a larger one keeps a smaller piece
/// of its own). Use one Context per rank; calls of one Context must not overlap in time. In a
/// forked child the calling thread computes alone; make another Context there.
class WEFT_API Context {
 public:
  /// Errors: kInvalidArgument for an unknown ISA name or a count out of range, kOutOfMemory if the
  /// OS gives no more threads.
  static Result<Context> create(const ContextOptions& options = {});
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  int threads() const;
  /// The instruction sets in use, best first: "amxint8 amxbf16 avx512bf16 … scalar".
  std::string isa() const;

  internal::ContextState& state() const { return *state_; }

 private:
  explicit Context(std::unique_ptr<internal::ContextState> state);
  std::unique_ptr<internal::ContextState> state_;
};

}  // namespace weft
