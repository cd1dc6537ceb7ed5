// SPDX-License-Identifier: Apache-2.0
// Rank 0's side. Nothing a stranger does may delay or break the group, so gathering never blocks on
// one connection, strangers are few and short-lived, and they get no answer.
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "comm/futex.h"
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
// Handing out the segments takes milliseconds; this much even if the last rank came at the
// deadline.
constexpr std::int64_t kExchangeNs = 10'000'000'000;

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

Status no_pidfd(int error) {
  return Status(StatusCode::kUnimplemented,
                fmt::format("group: pidfd_open: {}; groups of processes need Linux 5.3 or newer",
                            std::strerror(error)));
}

struct Member {
  Hello hello;
  int pid = 0;
  UniqueFd socket, file, pidfd;
};

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
  /// False once the stranger is one no more: joined, refused or dropped.
  bool read_stranger(Stranger& stranger);
  void admit(UniqueFd socket, UniqueFd file, const Hello& hello);

  bool complete() const;
  std::string disagreement() const;
  std::string missing() const;
  const Member* find(int rank) const;

  Status exchange(std::vector<ShmPeer>& peers);
  Status map_all(std::vector<ShmPeer>& peers);
  Status send_peers_to(const Member& member, const std::vector<int>& watch, std::int64_t end_ns);
  Status await_ready(const Member& member, std::int64_t end_ns);
  Status tell_all(const Status& failure);

  const Forming& forming_;
  const Hello hello_;
  UniqueFd listener_, file_, pidfd_;
  std::vector<Stranger> strangers_;
  std::vector<Member> members_;
  std::int64_t end_ns_ = 0;
  bool disagreed_ = false;
  std::vector<pollfd> polls_;
};

Result<std::vector<ShmPeer>> Host::form() {
  WEFT_RETURN_IF_ERROR(open());
  if (Status status = gather(); !status.ok()) return tell_all(status);
  listener_.reset();
  strangers_.clear();
  std::vector<ShmPeer> peers(static_cast<std::size_t>(forming_.ranks));
  if (Status status = exchange(peers); !status.ok()) return tell_all(status);
  return peers;
}

Status Host::open() {
  WEFT_ASSIGN_OR_RETURN(file_, create_segment_file(forming_.layout()));
  if (pidfd_ = open_pidfd(getpid()); !pidfd_) return no_pidfd(errno);
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
  end_ns_ = forming_.deadline_ns;
  return {};
}

Status Host::gather() {
  while (!complete() && now_ns() < end_ns_) {
    wait_for_events();
    read_members();  // first: the rank of one that has gone is free again
    read_strangers();
    accept_strangers();
  }
  if (const std::string text = disagreement(); !text.empty())
    return Status(StatusCode::kMismatch, text);
  if (!complete()) return Status(StatusCode::kTimeout, missing());
  return {};
}

void Host::wait_for_events() {
  std::int64_t wake_ns = end_ns_;
  polls_.assign(1, {listener_.get(), POLLIN, 0});
  for (const Member& member : members_) polls_.push_back({member.socket.get(), POLLIN, 0});
  for (const Stranger& stranger : strangers_) {
    polls_.push_back({stranger.socket.get(), POLLIN, 0});
    wake_ns = std::min(wake_ns, stranger.expires_ns);
  }
  poll(polls_.data(), polls_.size(), poll_ms(wake_ns));
}

void Host::read_members() {
  std::erase_if(members_, [&](Member& member) {
    Message message;
    Packet packet;
    const Received received = receive(member.socket.get(), &message, sizeof message, packet);
    if (received == Received::kNothingYet) return false;
    if (received == Received::kPacket)  // it gives up: its time was shorter than ours
      (void)send_message(member.socket.get(), fail_message(Status(StatusCode::kTimeout, missing())),
                         {}, now_ns());
    return true;
  });
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
      // Out of descriptors: those of the strangers are the ones to spare.
      if ((errno == EMFILE || errno == ENFILE) && !strangers_.empty()) strangers_.clear();
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
  if (received == Received::kPacket && !packet.truncated && packet.bytes == sizeof hello &&
      packet.files.size() == 1 && hello.magic == Hello::kMagic &&
      equal_in_constant_time(hello.secret, hello_.secret))
    admit(std::move(stranger.socket), std::move(packet.files[0]), hello);
  return false;
}

void Host::admit(UniqueFd socket, UniqueFd file, const Hello& hello) {
  if (hello.rank == 0 || find(hello.rank)) {
    const Status status(StatusCode::kInvalidArgument,
                        fmt::format("group: rank {} has joined already. Give every process a rank "
                                    "of its own, and make a new unique id for every group.",
                                    hello.rank));
    (void)send_message(socket.get(), fail_message(status), {}, now_ns());
    return;
  }
  Member member;
  member.hello = hello;
  member.pid = identity_of(socket.get()).pid;
  member.pidfd = pidfd_of(socket.get(), member.pid);
  member.socket = std::move(socket);
  member.file = std::move(file);
  Message welcome;
  welcome.kind = Kind::kWelcome;
  if (!send_message(member.socket.get(), welcome, {}, now_ns()).ok()) return;
  members_.push_back(std::move(member));
  if (!disagreed_ && !disagreement().empty()) {
    disagreed_ = true;
    end_ns_ = std::min(end_ns_, now_ns() + kMismatchGraceNs);
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
  for (int rank = 1; rank < forming_.ranks; ++rank)
    if (!find(rank)) {
      list += fmt::format("{}{}", count ? ", " : "", rank);
      ++count;
    }
  return fmt::format(
      "group: {} of {} ranks have not joined: {}. Start them with the same unique id, or allow "
      "more "
      "time (connect_timeout_s, HCCL_CONNECT_TIMEOUT).",
      count, forming_.ranks, list);
}

const Member* Host::find(int rank) const {
  for (const Member& member : members_)
    if (member.hello.rank == rank) return &member;
  return nullptr;
}

Status Host::exchange(std::vector<ShmPeer>& peers) {
  const std::int64_t end_ns = std::max(forming_.deadline_ns, now_ns() + kExchangeNs);
  std::sort(members_.begin(), members_.end(),
            [](const Member& a, const Member& b) { return a.hello.rank < b.hello.rank; });
  // The lowest rank of each rank's process. A pid of 0 is one in a namespace we cannot see.
  std::vector<int> watch = {0};
  for (const Member& member : members_) {
    int lowest = member.pid == getpid() ? 0 : member.hello.rank;
    for (const Member& other : members_)
      if (lowest != 0 && member.pid > 0 && other.pid == member.pid)
        lowest = std::min(lowest, other.hello.rank);
    watch.push_back(lowest);
    if (!member.pidfd) return no_pidfd(ENOSYS);
  }
  for (std::size_t rank = 0; rank < peers.size(); ++rank)
    peers[rank].watch = watch[rank] == 0 ? -1 : watch[rank];

  WEFT_RETURN_IF_ERROR(map_all(peers));
  for (const Member& member : members_) WEFT_RETURN_IF_ERROR(send_peers_to(member, watch, end_ns));
  for (const Member& member : members_) WEFT_RETURN_IF_ERROR(await_ready(member, end_ns));
  Message go;
  go.kind = Kind::kGo;
  // One that dies now is found by the group's first wait.
  for (const Member& member : members_) (void)send_message(member.socket.get(), go, {}, end_ns);
  for (Member& member : members_)
    if (watch[static_cast<std::size_t>(member.hello.rank)] == member.hello.rank)
      peers[static_cast<std::size_t>(member.hello.rank)].pidfd = std::move(member.pidfd);
  return {};
}

Status Host::map_all(std::vector<ShmPeer>& peers) {
  WEFT_ASSIGN_OR_RETURN(peers[0].mapping, Mapping::of_file(file_.get(), forming_.layout()));
  construct_control_block(peers[0].mapping);
  for (const Member& member : members_) {
    WEFT_ASSIGN_OR_RETURN(peers[static_cast<std::size_t>(member.hello.rank)].mapping,
                          Mapping::of_file(member.file.get(), forming_.layout()));
  }
  return {};
}

Status Host::send_peers_to(const Member& member, const std::vector<int>& watch,
                           std::int64_t end_ns) {
  const int own_process = watch[static_cast<std::size_t>(member.hello.rank)];
  for (int rank = 0; rank < forming_.ranks; ++rank) {
    if (rank == member.hello.rank) continue;
    const int its_process = watch[static_cast<std::size_t>(rank)];
    const int file =
        rank == 0 ? file_.get() : members_[static_cast<std::size_t>(rank - 1)].file.get();
    const int pidfd =
        rank == 0 ? pidfd_.get() : members_[static_cast<std::size_t>(rank - 1)].pidfd.get();
    Message message;
    message.kind = Kind::kPeer;
    message.rank = rank;
    message.watch = its_process == own_process ? -1 : its_process;
    const bool with_pidfd = message.watch == rank;
    const Status sent = with_pidfd
                            ? send_message(member.socket.get(), message, {file, pidfd}, end_ns)
                            : send_message(member.socket.get(), message, {file}, end_ns);
    // A closed socket may hold the reason, which await_ready reads.
    if (sent.code() == StatusCode::kPeerLost) return await_ready(member, end_ns);
    if (!sent.ok()) return sent;
  }
  return {};
}

Status Host::await_ready(const Member& member, std::int64_t end_ns) {
  Message message;
  Packet packet;
  const Status status = receive_message(member.socket.get(), end_ns, message, packet);
  if (status.code() == StatusCode::kPeerLost || (status.ok() && message.kind == Kind::kGiveUp))
    return Status(
        StatusCode::kPeerLost,
        fmt::format("group: rank {} ended while the group was forming. Start it again and "
                    "join with a new unique id.",
                    member.hello.rank));
  if (status.code() == StatusCode::kTimeout)
    return Status(StatusCode::kTimeout,
                  fmt::format("group: rank {} joined but then did not answer; it may be stopped",
                              member.hello.rank));
  if (!status.ok()) return status;
  return message.kind == Kind::kReady ? Status() : status_of(message);
}

Status Host::tell_all(const Status& failure) {
  const Message message = fail_message(failure);
  // Who has no room for one packet is not reading; its own deadline will do.
  for (const Member& member : members_)
    (void)send_message(member.socket.get(), message, {}, now_ns());
  return failure;
}

}  // namespace

Result<std::vector<ShmPeer>> host_group(const Forming& forming) { return Host(forming).form(); }

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
