// SPDX-License-Identifier: Apache-2.0
// Rank 0's side. Nothing a stranger does may delay or break the group, so gathering never blocks on
// one connection, strangers are few and short-lived, and they get no answer.
#include <fmt/core.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "comm/options.h"
#include "comm/rendezvous/member.h"
#include "comm/rendezvous/rendezvous.h"

namespace weft::internal {
namespace {

// A joiner sends its hello right after connecting, so a connection silent for this long is none.
constexpr std::int64_t kStrangerNs = 2'000'000'000;
// Beyond this many the oldest goes; a joiner that is dropped by a flood connects again.
constexpr std::size_t kMaxStrangers = 64;
// Connections taken in one round, so that a flood cannot keep us from those already here.
constexpr int kMaxAccepts = 64;
// After a disagreement the ranks on their way get this long to come and hear of it too.
constexpr std::int64_t kMismatchGraceNs = 1'000'000'000;
// More missing ranks than this need no names.
constexpr int kMostNamed = 32;

#ifdef SO_PEERPIDFD
constexpr int kSoPeerPidfd = SO_PEERPIDFD;
#else
constexpr int kSoPeerPidfd = 77;
#endif

bool equal_in_constant_time(const std::array<std::uint64_t, 2>& a,
                            const std::array<std::uint64_t, 2>& b) {
  volatile std::uint64_t difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference = difference | (a[i] ^ b[i]);
  return difference == 0;
}

UniqueFd open_pidfd(int pid) { return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

/// Of the process at the other end. The socket's own (Linux 6.5) cannot name a later process that
/// was given the same pid.
UniqueFd pidfd_of(int socket, int pid) {
  int fd = -1;
  socklen_t length = sizeof fd;
  if (getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &fd, &length) == 0) return UniqueFd(fd);
  return pid > 0 ? open_pidfd(pid) : UniqueFd();
}

class Host {
 public:
  explicit Host(const Forming& forming) : forming_(forming), hello_(make_hello(forming)) {}
  Result<std::vector<ShmPeer>> form();

 private:
  struct Stranger {
    UniqueFd socket;
    std::int64_t expires_ns;
  };

  Status open();
  Status gather();
  void wait_for_events();
  void read_members();
  void read_strangers();
  void accept_strangers();
  /// False once the stranger is none any more: joined, refused or dropped.
  bool read_stranger(Stranger& stranger);
  void admit(UniqueFd socket, UniqueFd file, const Hello& hello);

  bool complete() const;
  std::string disagreement() const;
  std::string missing() const;
  const Member* find(int rank) const;

  Status tell_all(const Status& failure);

  const Forming& forming_;
  const Hello hello_;
  UniqueFd listener_, file_, pidfd_;
  std::vector<Stranger> strangers_;
  std::vector<Member> members_;
  Until until_;
  std::string mismatch_;       ///< the disagreement in force, if any
  bool out_of_files_ = false;  ///< a connection was lost to the limit of open files
  std::vector<pollfd> polls_;
};

Result<std::vector<ShmPeer>> Host::form() {
  WEFT_RETURN_IF_ERROR(open());
  if (const Status status = gather(); !status.ok()) return tell_all(forming_.why(status));
  listener_.reset();
  strangers_.clear();
  Result<std::vector<ShmPeer>> peers = hand_out_segments(forming_, file_, pidfd_, members_);
  return peers.ok() ? std::move(peers) : tell_all(forming_.why(peers.status()));
}

Status Host::open() {
  WEFT_ASSIGN_OR_RETURN(file_, create_segment_file(forming_.layout()));
  if (pidfd_ = open_pidfd(getpid()); !pidfd_)
    return Status(StatusCode::kUnimplemented,
                  fmt::format("group: pidfd_open: {}; groups of processes need Linux 5.3 or newer",
                              std::strerror(errno)));
  const RendezvousAddress address(forming_.id);
  listener_ = UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_ || bind(listener_.get(), address.get(), address.length) != 0 ||
      listen(listener_.get(), SOMAXCONN) != 0)
    return errno == EADDRINUSE
               ? Status(StatusCode::kInvalidArgument,
                        "group: another rank 0 is forming a group with this unique id. Start one "
                        "rank 0, and make a new id for every group.")
               : Status(StatusCode::kInternal,
                        fmt::format("group: rendezvous socket: {}", std::strerror(errno)));
  until_ = forming_.until;
  return {};
}

Status Host::gather() {
  while (!complete() && !until_.over()) {
    wait_for_events();
    read_members();  // first: the rank of one that has gone is free again
    read_strangers();
    accept_strangers();
  }
  if (!mismatch_.empty()) return Status(StatusCode::kMismatch, mismatch_);
  if (!complete()) return Status(StatusCode::kTimeout, missing());
  return {};
}

void Host::wait_for_events() {
  Until wake = until_;
  polls_.assign(1, {listener_.get(), POLLIN, 0});
  for (const Member& member : members_) polls_.push_back({member.socket.get(), POLLIN, 0});
  for (const Stranger& stranger : strangers_) {
    polls_.push_back({stranger.socket.get(), POLLIN, 0});
    wake = wake.no_later_than(stranger.expires_ns);
  }
  poll(polls_.data(), polls_.size(), wake.poll_ms());
}

void Host::read_members() {
  for (std::size_t i = members_.size(); i-- > 0;) {
    Message message;
    Packet packet;
    const int socket = members_[i].socket.get();
    const Received received = receive(socket, &message, sizeof message, packet);
    if (received == Received::kNothingYet) continue;
    if (received == Received::kPacket)  // it gives up: its time was shorter than ours
      (void)send_message(socket, fail_message(Status(StatusCode::kTimeout, missing())), {},
                         {now_ns()});
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Host::read_strangers() {
  const std::int64_t now = now_ns();
  std::erase_if(strangers_, [&](Stranger& stranger) {
    return !read_stranger(stranger) || now >= stranger.expires_ns;
  });
}

void Host::accept_strangers() {
  for (int i = 0; i < kMaxAccepts; ++i) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno != EMFILE && errno != ENFILE) return;
      // The descriptors of strangers are the ones to spare. The connection stays in the queue, so
      // poll would return at once; without a pause we would spin.
      out_of_files_ = true;
      strangers_.clear();
      poll(nullptr, 0, 1);
      return;
    }
    const PeerIdentity identity = identity_of(socket.get());
    if (!identity.known || identity.uid != static_cast<std::int64_t>(geteuid())) continue;
    Stranger stranger{std::move(socket), now_ns() + kStrangerNs};
    if (!read_stranger(stranger)) continue;
    if (strangers_.size() == kMaxStrangers) strangers_.erase(strangers_.begin());
    strangers_.push_back(std::move(stranger));
  }
}

bool Host::read_stranger(Stranger& stranger) {
  Hello hello;
  Packet packet;
  const Received received = receive(stranger.socket.get(), &hello, sizeof hello, packet);
  if (received == Received::kNothingYet) return true;
  if (received == Received::kPacket && packet.bytes == sizeof hello &&
      hello.magic == Hello::kMagic && equal_in_constant_time(hello.secret, hello_.secret)) {
    if (packet.files.size() == 1 && !packet.truncated)
      admit(std::move(stranger.socket), std::move(packet.files[0]), hello);
    else
      out_of_files_ = true;  // a member's file did not fit in our table
  }
  return false;
}

void Host::admit(UniqueFd socket, UniqueFd file, const Hello& hello) {
  Member member;
  member.hello = hello;
  member.pid = identity_of(socket.get()).pid;
  member.pidfd = pidfd_of(socket.get(), member.pid);
  if (!member.pidfd && (errno == EMFILE || errno == ENFILE)) {
    out_of_files_ = true;
    return;
  }
  if (!member.pidfd && member.pid > 0) return;  // it has ended already
  member.socket = std::move(socket);
  member.file = std::move(file);

  Status refusal;
  if (hello.rank < 0 || hello.rank >= hello.ranks || hello.ranks > kMaxRanks)
    refusal = Status(StatusCode::kInvalidArgument,
                     fmt::format("group: rank {} of {} makes no sense", hello.rank, hello.ranks));
  else if (hello.rank == 0 || find(hello.rank))
    refusal = Status(StatusCode::kInvalidArgument,
                     fmt::format("group: rank {} has joined already. Give every process a rank of "
                                 "its own, and make a new unique id for every group.",
                                 hello.rank));
  else if (!member.pidfd)
    refusal = Status(StatusCode::kUnimplemented,
                     fmt::format("group: rank {} is in a pid namespace that rank 0 cannot see, "
                                 "which needs Linux 6.5. Start all ranks in one container.",
                                 hello.rank));
  Message answer;
  answer.kind = Kind::kWelcome;
  if (!refusal.ok()) answer = fail_message(refusal);
  if (!send_message(member.socket.get(), answer, {}, {now_ns()}).ok() || !refusal.ok()) return;
  members_.push_back(std::move(member));
  if (std::string text = disagreement(); !text.empty()) {
    if (mismatch_.empty()) until_ = until_.no_later_than(now_ns() + kMismatchGraceNs);
    mismatch_ = std::move(text);
  }
}

bool Host::complete() const {
  std::set<int> present = {0};
  int expected = forming_.ranks;
  for (const Member& member : members_) {
    present.insert(member.hello.rank);
    expected = std::max(expected, member.hello.ranks);
  }
  return static_cast<int>(present.size()) >= expected;
}

std::string Host::disagreement() const {
  const Member* lowest = nullptr;
  for (const Member& member : members_) {
    const Hello& hello = member.hello;
    const bool agrees = hello.layout == hello_.layout && hello.ranks == hello_.ranks &&
                        hello.window_bytes == hello_.window_bytes &&
                        std::memcmp(hello.name, hello_.name, sizeof hello.name) == 0;
    if (!agrees && (!lowest || hello.rank < lowest->hello.rank)) lowest = &member;
  }
  if (!lowest) return {};
  const Hello& theirs = lowest->hello;
  const auto sentence = [&](std::string_view what, const auto& ours, const auto& other) {
    return fmt::format(
        "group: {} is {} on rank 0 but {} on rank {}. Give it the same value on "
        "every rank and join again with a new unique id.",
        what, ours, other, theirs.rank);
  };
  if (theirs.layout != hello_.layout)
    return sentence("the layout of shared memory (version of weft)", hello_.layout, theirs.layout);
  if (theirs.ranks != hello_.ranks) return sentence("ranks", hello_.ranks, theirs.ranks);
  if (theirs.window_bytes != hello_.window_bytes)
    return sentence("window_bytes", hello_.window_bytes, theirs.window_bytes);
  const auto quoted = [](const Hello& hello) {
    return fmt::format("\"{}\"", std::string_view(hello.name, strnlen(hello.name, 128)));
  };
  return sentence("name", quoted(hello_), quoted(theirs));
}

std::string Host::missing() const {
  std::string list;
  int count = 0;
  for (int rank = 1; rank < forming_.ranks; ++rank) {
    if (find(rank)) continue;
    if (++count <= kMostNamed) list += fmt::format("{}{}", count > 1 ? ", " : "", rank);
  }
  return fmt::format(
      "group: {} of {} ranks have not joined: {}{}. {}Start them with the same unique id, or allow "
      "more time (connect_timeout_s, HCCL_CONNECT_TIMEOUT).",
      count, forming_.ranks, list, count > kMostNamed ? ", …" : "",
      out_of_files_ ? "Rank 0 may not open more files: raise the limit (ulimit -n). " : "");
}

const Member* Host::find(int rank) const {
  for (const Member& member : members_)
    if (member.hello.rank == rank) return &member;
  return nullptr;
}

Status Host::tell_all(const Status& failure) {
  const Message message = fail_message(failure);
  // Who has no room for one packet is not reading; its own deadline will do.
  for (const Member& member : members_)
    (void)send_message(member.socket.get(), message, {}, {now_ns()});
  return failure;
}

}  // namespace

Result<std::vector<ShmPeer>> host_group(const Forming& forming) { return Host(forming).form(); }

Status Forming::why(const Status& failure) const {
  if (!until.interruption || !until.interruption->happened()) return failure;
  return Status(StatusCode::kPeerLost,
                fmt::format("group: rank {} gave up ({}) while the group was forming. Join again "
                            "with a new unique id.",
                            rank, kInterrupted));
}

Hello make_hello(const Forming& forming) {
  Hello hello;
  hello.secret = forming.id.secret;
  hello.layout = shared_layout();
  hello.rank = forming.rank;
  hello.ranks = forming.ranks;
  hello.window_bytes = forming.options.window_bytes;
  std::memcpy(hello.name, forming.options.name.data(),
              std::min(forming.options.name.size(), sizeof hello.name - 1));
  return hello;
}

RendezvousAddress::RendezvousAddress(const IdContents& id) {
  const std::string name = rendezvous_name(id);
  address.sun_family = AF_UNIX;
  // The zero byte in front is what makes the name abstract.
  std::memcpy(address.sun_path + 1, name.data(),
              std::min(name.size(), sizeof address.sun_path - 1));
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

}  // namespace weft::internal
