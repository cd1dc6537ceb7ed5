// SPDX-License-Identifier: Apache-2.0
// Every other rank's side of the rendezvous.
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "comm/rendezvous/rendezvous.h"

namespace weft::internal {
namespace {

// How long rank 0 gets to say who is missing once our own time is over.
constexpr std::int64_t kLastWordNs = 1'000'000'000;
// Between attempts to connect: short at first, since ranks mostly start together.
constexpr int kFirstPauseMs = 1, kLongestPauseMs = 20;

class Joiner {
 public:
  explicit Joiner(const Forming& forming)
      : forming_(forming), hello_(make_hello(forming)), address_(forming.id) {}
  Result<std::vector<ShmPeer>> join();

 private:
  /// Why an attempt did not lead to a welcome.
  enum class Attempt { kWelcome, kAbsent, kForeign, kRefused, kUnanswered };

  Status open();
  Status knock();
  Attempt attempt(Status& failure);
  Status not_admitted() const;
  Status take_segments();
  Status add_peer(const Message& message, Packet& packet);
  Status give_up();
  Status fail(const Status& status);

  const Forming& forming_;
  const Hello hello_;
  const RendezvousAddress address_;
  UniqueFd file_, socket_;
  std::vector<ShmPeer> peers_;
  int added_ = 0;
  int refusals_ = 0;
  Attempt last_ = Attempt::kAbsent;
};

Result<std::vector<ShmPeer>> Joiner::join() {
  WEFT_RETURN_IF_ERROR(open());
  Status status = knock();
  if (status.ok()) status = take_segments();
  if (!status.ok()) return forming_.why(status);
  return std::move(peers_);
}

Status Joiner::open() {
  WEFT_ASSIGN_OR_RETURN(file_, create_segment_file(forming_.layout()));
  peers_.resize(static_cast<std::size_t>(forming_.ranks));
  ShmPeer& own = peers_[static_cast<std::size_t>(forming_.rank)];
  WEFT_ASSIGN_OR_RETURN(own.mapping, Mapping::of_file(file_.get(), forming_.layout()));
  construct_control_block(own.mapping, forming_.ranks);
  return {};
}

/// Connects until rank 0 says welcome.
Status Joiner::knock() {
  for (int pause_ms = kFirstPauseMs; !forming_.until.over();
       pause_ms = std::min(2 * pause_ms, kLongestPauseMs)) {
    Status failure;
    last_ = attempt(failure);
    if (!failure.ok()) return failure;
    if (last_ == Attempt::kWelcome) return {};
    if (last_ == Attempt::kRefused) ++refusals_;
    poll(nullptr, 0, std::min(pause_ms, forming_.until.poll_ms()));
  }
  return not_admitted();
}

Joiner::Attempt Joiner::attempt(Status& failure) {
  socket_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) {
    failure = Status(StatusCode::kInternal,
                     fmt::format("group: rendezvous socket: {}", std::strerror(errno)));
    return Attempt::kAbsent;
  }
  if (connect(socket_.get(), address_.get(), address_.length) != 0) return Attempt::kAbsent;
  // The secret goes to nobody but a process of our own user.
  const PeerIdentity identity = identity_of(socket_.get());
  if (!identity.known || identity.uid != static_cast<std::int64_t>(geteuid()))
    return Attempt::kForeign;
  if (!send_packet(socket_.get(), &hello_, sizeof hello_, {file_.get()}, forming_.until).ok())
    return Attempt::kRefused;
  Message message;
  Packet packet;
  const Status status = receive_message(socket_.get(), forming_.until, message, packet);
  if (status.code() == StatusCode::kPeerLost) return Attempt::kRefused;
  if (status.code() == StatusCode::kTimeout) return Attempt::kUnanswered;
  if (!status.ok())
    failure = status;
  else if (message.kind == Kind::kFail)
    failure = status_of(message);
  return Attempt::kWelcome;
}

Status Joiner::not_admitted() const {
  std::string why;
  switch (last_) {
    case Attempt::kForeign:
      why = "the rendezvous belongs to another user";
      break;
    case Attempt::kUnanswered:
      why = "rank 0 listens but does not answer; it may be stopped";
      break;
    case Attempt::kRefused:
      why = fmt::format(
          "rank 0 refused {} connections; it may have another unique id or another version of weft",
          refusals_);
      break;
    default:
      why = "rank 0 has not come, or is on another host or in another network namespace";
  }
  return Status(StatusCode::kTimeout,
                fmt::format("group: rank {} could not join within {:.6g} s: {}. Start rank 0 with "
                            "the same unique id, or allow more time (connect_timeout_s, "
                            "HCCL_CONNECT_TIMEOUT).",
                            forming_.rank, forming_.options.connect_timeout_s, why));
}

/// From the welcome to the go.
Status Joiner::take_segments() {
  // Once segments arrive everybody has come, and rank 0 sees to the end of it.
  Until until = forming_.until;
  while (true) {
    Message message;
    Packet packet;
    const Status status = receive_message(socket_.get(), until, message, packet);
    if (status.code() == StatusCode::kTimeout) return give_up();
    if (status.code() == StatusCode::kPeerLost)
      return Status(StatusCode::kPeerLost,
                    "group: rank 0 ended while the group was forming. Start it again and join with "
                    "a new unique id.");
    if (!status.ok()) return fail(status);
    if (message.kind == Kind::kFail) return status_of(message);
    if (message.kind == Kind::kGo) return {};
    if (message.kind != Kind::kPeer) continue;
    until.deadline_ns = std::max(until.deadline_ns, now_ns() + kHandOutNs + kLastWordNs);
    if (const Status added = add_peer(message, packet); !added.ok()) return fail(added);
    if (added_ == forming_.ranks - 1) {
      Message ready;
      ready.kind = Kind::kReady;
      (void)send_message(socket_.get(), ready, {}, until);  // failure: the next receive tells
    }
  }
}

Status Joiner::add_peer(const Message& message, Packet& packet) {
  const bool with_pidfd = message.watch == message.rank;
  if (message.rank < 0 || message.rank >= forming_.ranks || message.rank == forming_.rank ||
      message.watch >= forming_.ranks || packet.files.size() != (with_pidfd ? 2U : 1U))
    return Status(StatusCode::kInternal, "group: rank 0 sent a segment that makes no sense");
  ShmPeer& peer = peers_[static_cast<std::size_t>(message.rank)];
  WEFT_ASSIGN_OR_RETURN(peer.mapping, Mapping::of_file(packet.files[0].get(), forming_.layout()));
  peer.watch = message.watch;
  if (with_pidfd) peer.pidfd = std::move(packet.files[1]);
  ++added_;
  return {};
}

Status Joiner::give_up() {
  Message message;
  message.kind = Kind::kGiveUp;
  const Until end{now_ns() + kLastWordNs, forming_.until.interruption};
  (void)send_message(socket_.get(), message, {}, end);
  while (true) {
    Packet packet;
    if (!receive_message(socket_.get(), end, message, packet).ok())
      return Status(StatusCode::kTimeout,
                    fmt::format("group: rank {} joined, but rank 0 stopped answering before the "
                                "group had formed ({:.6g} s)",
                                forming_.rank, forming_.options.connect_timeout_s));
    if (message.kind == Kind::kFail) return status_of(message);
  }
}

Status Joiner::fail(const Status& status) {
  const Status named(status.code(), fmt::format("{} (rank {})", status.message(), forming_.rank));
  (void)send_message(socket_.get(), fail_message(named), {}, {now_ns() + kLastWordNs});
  return named;
}

}  // namespace

Result<std::vector<ShmPeer>> join_group(const Forming& forming) { return Joiner(forming).join(); }

}  // namespace weft::internal
