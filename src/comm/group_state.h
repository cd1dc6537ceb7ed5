// SPDX-License-Identifier: Apache-2.0
// What is behind weft::Group, and what operators and the tile layer use of it: windows, counters,
// waiting, the check that all ranks make the same call, and poison.
//
// Every rank has one shared segment: a control block (counters, call headers, poison) and its
// window. Every rank can read all segments; a rank writes only its own (and wakes others).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "comm/interruption.h"
#include "comm/link.h"
#include "comm/transport/transport.h"
#include "weft/group.h"
#include "weft/status.h"

namespace weft::internal {

struct Counter;
struct PairBlock;

/// Counters of a rank that its peers wait on. Monotonic over the life of the group, so nothing is
/// ever reset. Their meaning belongs to the layer that publishes them.
enum class CounterId : int {
  kCall,      ///< number of the call this rank has entered (begin_call)
  kPartial,   ///< tile layer: super-blocks whose partials are readable
  kReduced,   ///< tile layer: super-blocks whose reduced rows are readable
  kConsumed,  ///< tile layer: super-blocks whose slots of all peers this rank no longer reads
  kCount
};

/// What all ranks must agree on for one call, as text so that a mismatch can name both values. Made
/// at plan time; begin_call only copies it.
class CallHeader {
 public:
  static constexpr int kFields = 24;
  explicit CallHeader(std::string_view op);
  /// Field names are at most 23 bytes; values over 39 bytes are kept as their beginning and a hash.
  /// At most kFields.
  CallHeader& add(std::string_view name, std::string_view value);
  CallHeader& add(std::string_view name, std::int64_t value);

  std::string_view op() const;
  /// The sentence that names the first difference of two headers with different digests.
  static std::string difference(const CallHeader& rank0, const CallHeader& other, int other_rank);

  struct Field {
    char name[24];
    char value[40];
  };
  char op_[48] = {};
  std::uint64_t digest_ = 0;  ///< of op and all fields
  int count_ = 0;
  std::array<Field, kFields> fields_{};
};
static_assert(std::is_trivially_copyable_v<CallHeader>, "lives in memory shared by processes");

/// What the sender of a message says of it, in its first piece. The layer above knows the meaning.
struct MailHeader {
  std::int64_t count, tag;
  std::int32_t type;
};

/// What a rank announces of a call for one peer.
struct CallCounts {
  std::int64_t to, from;  ///< what it sends to the peer, and expects from it
};

/// What a wait is for, so that its error can say it: operator and tile come from here.
struct WaitFor {
  std::string_view what;   ///< "the partial sums", "the reduced rows", …
  std::int64_t tile = -1;  ///< super-block within the call, -1: none
};

/// Messages under way between this rank and single peers.
class MailWork {
 public:
  enum class Step { kDone, kMoved, kBlocked, kFailed };
  virtual ~MailWork() = default;
  /// Does what can be done without waiting.
  virtual Step advance() = 0;
  /// After kFailed: why.
  virtual Status failure() const = 0;
  /// After kBlocked: whether the peer must do something, and what: "rank 3 to take the message".
  virtual bool waits_for(int peer) const = 0;
  virtual std::string awaited(int peer) const = 0;
};

/// One rank's side of the group. begin_call, check_peers and end_call belong to the rank's calling
/// thread; the rest may be called by any of the rank's threads.
class GroupState {
 public:
  /// Options are resolved.
  GroupState(std::unique_ptr<Transport> transport, int rank, int ranks,
             const GroupOptions& options);
  ~GroupState();  ///< marks this rank as gone, wakes everybody
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  const std::string& name() const { return name_; }
  std::int64_t window_bytes() const { return window_bytes_; }
  std::string_view transport_name() const { return transport_->name(); }

  /// The window of a rank, page aligned. Own: read and write. Others: read only by convention.
  std::byte* window(int rank) const { return segments_[static_cast<std::size_t>(rank)].window; }

  /// Starts collective call number N+1: publishes this rank's header. Local, does not wait. Fails
  /// at once if the group is poisoned. Starts the deadline of the call: timeout_s from now
  /// (negative: never), or exec_timeout_s if that is 0.
  Status begin_call(const CallHeader& header, double timeout_s = 0);
  /// Waits until every peer has entered this call and compares the headers with rank 0's. On a
  /// difference every rank returns the same kMismatch text naming both values, and the group is
  /// poisoned. Every call makes it, before end_call.
  Status check_peers();
  /// Says that this rank has completed the call and waits for nobody any more: from here on the end
  /// of its process does not disturb peers that are still busy with each other. Local.
  void end_call();

  /// Stores value (release) to this rank's counter and wakes waiters. Values must not fall.
  void publish(CounterId id, std::uint64_t value);
  /// This rank's own counter.
  std::uint64_t own(CounterId id) const;
  /// A peer's counter now (acquire). Never waits.
  std::uint64_t peek(int peer, CounterId id) const;
  /// Waits until the peer's counter is at least value: spin with pause, yield, then futex. Ends
  /// with kPeerLost (died, left), the poison of any rank, or kTimeout at the call's deadline; in
  /// every error case this group is poisoned, here and (through our poison) on every rank.
  Status wait(int peer, CounterId id, std::uint64_t value, const WaitFor& what);
  /// wait() for every other rank.
  Status wait_all(CounterId id, std::uint64_t value, const WaitFor& what);

  /// What this rank announces for `peer` in its next call; before begin_call.
  void announce(int peer, const CallCounts& counts);
  /// What a rank announced for a peer in this call; after check_peers.
  const CallCounts& announced(int rank, int peer) const;

  // Messages between two ranks: apart from the calls of the group, with numbers and memory of
  // their own. Only the calling thread.
  /// Pieces of messages are as long as this, but for the last.
  std::int64_t mail_slot_bytes() const;
  /// The slot for piece number `piece` from a rank to another: written by `from` when fewer than
  /// two earlier pieces have not been taken, read by `to`.
  std::byte* mail(int from, int to, std::uint64_t piece) const;
  MailHeader& mail_header(int from, int to, std::uint64_t piece) const;
  std::uint64_t mail_sent(int from, int to) const;   ///< pieces that are in their slots or were
  std::uint64_t mail_taken(int from, int to) const;  ///< of them, those that `to` has read
  void publish_sent(int to, std::uint64_t pieces);
  void publish_taken(int from, std::uint64_t pieces);
  /// Advances the work until it is done. Errors as wait(), and its failure(): poison the group.
  Status run_mail(std::string_view op, MailWork& work);

  // For who does without run_mail. Whatever a peer does for this rank between listen() and
  // stop_listening() rings its bell.
  std::uint64_t listen();  ///< returns what sleep_until_rung() needs
  void sleep_until_rung(std::uint64_t rung, std::int64_t most_ns);
  void stop_listening();
  /// If the rank listens. From any thread.
  void ring(int rank) const;
  /// More ranks than CPUs: spinning would keep the awaited rank off.
  bool oversubscribed() const { return oversubscribed_; }
  /// How a peer has gone, if it has; ended processes by the last look_for_ended_processes().
  enum class Fate { kThere, kLeft, kEnded };
  Fate fate(int peer) const;
  void look_for_ended_processes() { transport_->look_for_ended_processes(); }
  /// Poisons the group because the peer, which has gone, owed something.
  Status lose(std::string_view op, int peer, std::string_view awaited);

  double exec_timeout_s() const { return exec_timeout_s_; }

  /// Of the next calls, resolved.
  void set_exec_timeout(double seconds) { exec_timeout_s_ = seconds; }

  /// Measurements only: tiles take as long as this link needs for them. Null: as fast as memory.
  void set_link(Link* link) { link_ = link; }
  Link* link() const { return link_; }

  /// Makes the group unusable on every rank: later calls and current waits return this status. The
  /// first poison wins; returns the one in force.
  Status poison(const Status& status);
  /// Poisons the group because the program, not a peer, wants it to end. `op`: what it was in.
  Status give_up(std::string_view op, std::string_view reason);
  /// This process is not the rank's, but a child with a copy of this object.
  bool forked() const;
  /// Ok or the poison in force (own or a peer's), or that this process is not the rank's.
  Status health() const;

  static Group wrap(std::unique_ptr<GroupState> state) { return Group(std::move(state)); }

 private:
  /// One wait that was not over at the first look.
  struct Wait {
    int peer;
    CounterId id;
    std::uint64_t value;
    const WaitFor& what;
    std::int64_t begin_ns;
  };

  ControlBlock& control(int rank) const {
    return *segments_[static_cast<std::size_t>(rank)].control;
  }
  void start_deadline(double timeout_s = 0);

  PairBlock& pair(int owner, int peer) const;
  Status sleep_for_mail(std::string_view op, MailWork& work, std::int64_t begin_ns);
  Status check_lost_partners(std::string_view op, MailWork& work);

  Counter& counter(int rank, CounterId id) const;
  bool reached(const Wait& wait) const;
  bool poisoned() const;
  void wake_everybody() const;

  /// Before the calling thread sleeps: whether the program wants no more of it.
  Status check_interrupted(std::string_view op);

  Status wait_slowly(const Wait& wait);
  /// Sleeps in slices until the wait is over or has failed.
  Status wait_asleep(const Wait& wait);
  /// Poisons the group if a rank that is still needed has gone.
  Status check_lost_peers(const Wait& wait);
  bool is_lost(int peer, const Wait& wait) const;
  std::string lost_text(int lost, const Wait& wait) const;
  std::string timeout_text(const Wait& wait) const;
  /// The rank at the end of the chain of ranks that wait for each other.
  int last_of_chain(const Wait& wait) const;

  const std::unique_ptr<Transport> transport_;
  const int rank_, ranks_;
  const std::string name_;
  const std::int64_t window_bytes_;
  double exec_timeout_s_;
  double limit_s_ = 0;          // of the current call
  bool limit_of_call_ = false;  // it is the call's own
  const bool private_futex_;
  const bool oversubscribed_;
  const std::int32_t process_;
  std::vector<Segment> segments_;
  std::uint64_t call_ = 0;
  std::int64_t deadline_ns_ = 0;
  Interruption interruption_;
  Link* link_ = nullptr;
  std::mutex poison_mutex_;
  bool poison_written_ = false;  // guarded by poison_mutex_
};

}  // namespace weft::internal
