// SPDX-License-Identifier: Apache-2.0
// Group: ranks that call collectively. Threads of one process, or processes of one host.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weft/export.h"
#include "weft/memory_use.h"
#include "weft/status.h"

namespace weft {

/// Names a group that is about to form and proves membership: 128 random bits are its secret. One
/// rank makes it and hands it to the others by any private channel (a pipe, torch's store, MPI).
struct WEFT_API UniqueId {
  std::array<std::byte, 128> bytes{};
  static Result<UniqueId> create();
  std::string to_hex() const;
  static Result<UniqueId> from_hex(std::string_view hex);
};

struct GroupOptions {
  /// Communicator name; empty: one is made from the id. At most 127 characters.
  std::string name;
  /// Bytes of window memory per rank (address space; pages appear when touched). 0: 2 x
  /// HCCL_BUFFSIZE MB (default 2 x 200 MB). Must be the same on every rank.
  std::int64_t window_bytes = 0;
  /// Seconds to wait for all ranks to join. 0: HCCL_CONNECT_TIMEOUT (default 120).
  double connect_timeout_s = 0;
  /// Seconds a collective may wait for a peer. 0: HCCL_EXEC_TIMEOUT (default 1836); negative: for
  /// ever.
  double exec_timeout_s = 0;
  /// Asks the program whether waits shall end. Asked about every 20 ms by the thread that makes the
  /// call or joins, only while it sleeps in a wait, and never during a computation. True ends the
  /// wait as abort("interrupted") does; while the group forms, join() alone. It must not throw nor
  /// use the group. Ranks of local() have a copy each.
  std::function<bool()> interrupted = {};
};

namespace internal {
class GroupState;
}

/// One rank's membership. Move-only. Collective calls are made by all ranks in the same order; two
/// calls on one Group object must not overlap in time. Destroying it is local and never waits;
/// peers that still need this rank get kPeerLost. A forked child is not the rank: there every call
/// returns kInvalidArgument, and destroying the copy means nothing to the peers.
class WEFT_API Group {
 public:
  /// Ranks are threads of this process: element i is rank i. Hand each to its thread.
  /// Errors: kInvalidArgument, kOutOfMemory.
  static Result<std::vector<Group>> local(int ranks, const GroupOptions& options = {});

  /// Ranks are processes of this host (or threads, mixed as you like). Collective: returns when all
  /// `ranks` have joined with the same id, or with kTimeout after connect_timeout_s naming who is
  /// missing. Errors: kInvalidArgument, kMismatch (ranks disagree about size or options), kTimeout,
  /// kPeerLost.
  static Result<Group> join(const UniqueId& id, int rank, int ranks,
                            const GroupOptions& options = {});

  /// join() with rank and size from the launcher's environment: weft run, torchrun (RANK,
  /// WORLD_SIZE, MASTER_ADDR, MASTER_PORT), mpirun (OMPI_COMM_WORLD_*, PMI_*), srun (SLURM_PROCID,
  /// SLURM_NTASKS). Collective; may be called again for further groups, in the same order on every
  /// rank. Only `weft run` hands out a secret: under the others all ranks compute the id from the
  /// job's identifiers, and who may join rests on the uid the kernel reports (docs/faults.md).
  /// Errors: those of join; kInvalidArgument lists what was looked for; kUnimplemented if the job
  /// spans hosts.
  static Result<Group> from_environment(const GroupOptions& options = {});

  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;
  ~Group();

  int rank() const;
  int ranks() const;
  const std::string& name() const;
  std::int64_t window_bytes() const;
  /// "loopback" or "shm".
  std::string_view transport() const;
  /// Of this rank's window, as far as calls have used it. Local. Errors: kUnimplemented if the
  /// kernel doesn't say.
  Result<MemoryUse> memory_use() const;

  /// Collective. Returns when every rank has called it. timeout_s: seconds that this rank waits;
  /// 0: exec_timeout_s; negative: for ever. Errors: kMismatch, kTimeout, kPeerLost.
  Status barrier(double timeout_s = 0);

  /// Changes GroupOptions::exec_timeout_s of this rank, from its next call on. Errors:
  /// kInvalidArgument (not a number).
  Status set_exec_timeout(double seconds);

  /// Makes the group unusable on every rank at once, as an error would: calls under way and later
  /// ones return kPeerLost, which names this rank and the reason. Local, may be called by any
  /// thread at any time, also while another thread of the rank is inside a call. The first error
  /// of a group stays, so calling it again, or too late, changes nothing.
  void abort(std::string_view reason);

  /// Ok, or the error that made this group unusable; every later call on the group returns it at
  /// once.
  Status health() const;

  internal::GroupState& state() const { return *state_; }

 private:
  friend class internal::GroupState;
  explicit Group(std::unique_ptr<internal::GroupState> state);
  std::unique_ptr<internal::GroupState> state_;
};

}  // namespace weft
