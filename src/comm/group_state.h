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
#include <string>
#include <string_view>

#include "comm/transport/transport.h"
#include "weft/group.h"
#include "weft/status.h"

namespace weft::internal {

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
  /// Field names are at most 23, values at most 39 bytes (longer: cut). At most kFields.
  CallHeader& add(std::string_view name, std::string_view value);
  CallHeader& add(std::string_view name, std::int64_t value);

  std::string_view op() const;
  struct Field {
    char name[24];
    char value[40];
  };
  char op_[48] = {};
  std::uint64_t digest_ = 0;  ///< of op and all fields
  int count_ = 0;
  std::array<Field, kFields> fields_{};
};

/// What a wait is for, so that its error can say it: operator and tile come from here.
struct WaitFor {
  std::string_view what;   ///< "the partial sums", "the reduced rows", …
  std::int64_t tile = -1;  ///< super-block within the call, -1: none
};

class GroupState {
 public:
  GroupState(std::unique_ptr<Transport> transport, int rank, int ranks, std::string name,
             std::int64_t window_bytes, double exec_timeout_s);
  ~GroupState();  ///< marks this rank as gone, wakes everybody

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }
  const std::string& name() const { return name_; }
  std::int64_t window_bytes() const { return window_bytes_; }
  std::string_view transport_name() const { return transport_->name(); }

  /// The window of a rank, page aligned. Own: read and write. Others: read only by convention.
  std::byte* window(int rank) const { return transport_->segment(rank).window; }

  /// Starts collective call number N+1: publishes this rank's header. Local, does not wait. Fails
  /// at once if the group is poisoned. Starts the deadline of the call (exec_timeout_s from now).
  Status begin_call(const CallHeader& header);
  /// Waits until every peer has entered this call and compares the headers with rank 0's. On a
  /// difference every rank returns the same kMismatch text naming both values, and the group is
  /// poisoned.
  Status check_peers();

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

  /// Makes the group unusable on every rank: later calls and current waits return this status. The
  /// first poison wins; returns the one in force.
  Status poison(const Status& status);
  /// Ok or the poison in force (own or a peer's).
  Status health() const;

  static Group wrap(std::unique_ptr<GroupState> state) { return Group(std::move(state)); }

 private:
  std::unique_ptr<Transport> transport_;
  int rank_, ranks_;
  std::string name_;
  std::int64_t window_bytes_;
  double exec_timeout_s_;
  // The rest belongs to group_state.cc (add members here as needed).
  std::uint64_t call_ = 0;
  std::int64_t deadline_ns_ = 0;
  Status poison_;
};

}  // namespace weft::internal
