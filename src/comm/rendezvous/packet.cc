// SPDX-License-Identifier: Apache-2.0
#include "comm/rendezvous/packet.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/clock.h"

namespace weft::internal {
namespace {

constexpr std::size_t kMaxFiles = 2;

/// False if it is over first.
bool wait_for(int socket, short events, const Until& until) {
  while (true) {
    pollfd entry{socket, events, 0};
    const int ready = poll(&entry, 1, until.poll_ms());
    if (ready > 0) return true;
    if (until.over()) return false;
  }
}

std::vector<UniqueFd> files_of(msghdr& header) {
  std::vector<UniqueFd> files;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      files.emplace_back(fd);
    }
  }
  return files;
}

}  // namespace

bool Until::over() const {
  return now_ns() >= deadline_ns || (interruption && interruption->ask());
}

int Until::poll_ms() const {
  std::int64_t left = std::min<std::int64_t>(deadline_ns - now_ns(), 60'000'000'000);
  if (interruption && interruption->possible()) left = std::min(left, Interruption::kAskNs);
  return static_cast<int>((std::max<std::int64_t>(left, 0) + 999'999) / 1'000'000);
}

Until Until::no_later_than(std::int64_t ns) const {
  return {std::min(deadline_ns, ns), interruption};
}

Message fail_message(const Status& status) {
  Message message;
  message.code = static_cast<std::int32_t>(status.code());
  const std::size_t length = std::min(status.message().size(), sizeof message.text - 1);
  std::memcpy(message.text, status.message().data(), length);
  return message;
}

Status status_of(const Message& message) {
  return Status(static_cast<StatusCode>(message.code),
                std::string(message.text, strnlen(message.text, sizeof message.text)));
}

Received receive(int socket, void* data, std::size_t capacity, Packet& packet) {
  iovec part{data, capacity};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFiles * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got = -1;
  bool reset = false;
  while ((got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0) {
    // A side that closes without having read everything resets us, which is reported once and
    // before the last packets it sent us.
    if (errno == ECONNRESET && !std::exchange(reset, true)) continue;
    if (errno != EINTR) break;
  }
  if (got < 0) return errno == EAGAIN ? Received::kNothingYet : Received::kClosed;
  packet.files = files_of(header);
  if (got == 0) return Received::kClosed;
  packet.bytes = static_cast<std::size_t>(got);
  packet.truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  return Received::kPacket;
}

Status receive_message(int socket, const Until& until, Message& message, Packet& packet) {
  while (true) {
    switch (receive(socket, &message, sizeof message, packet)) {
      case Received::kPacket:
        if (packet.bytes == sizeof message && !packet.truncated) return {};
        return Status(
            StatusCode::kInternal,
            fmt::format("group: a packet of the rendezvous has {} bytes and {} files; the "
                        "limit of open files (ulimit -n) may be too low",
                        packet.bytes, packet.files.size()));
      case Received::kClosed:
        return Status(StatusCode::kPeerLost, "closed");
      case Received::kNothingYet:
        if (!wait_for(socket, POLLIN, until)) return Status(StatusCode::kTimeout, "timeout");
    }
  }
}

Status send_packet(int socket, const void* data, std::size_t bytes,
                   std::initializer_list<int> files, const Until& until) {
  iovec part{const_cast<void*>(data), bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFiles * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (files.size() > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), files.begin(), files.size() * sizeof(int));
  }
  while (true) {
    if (sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) return Status(StatusCode::kPeerLost, "closed");
    if (errno != EAGAIN && errno != ETOOMANYREFS && errno != ENOBUFS)
      return Status(StatusCode::kInternal,
                    fmt::format("group: sendmsg in the rendezvous: {}", std::strerror(errno)));
    if (until.over()) return Status(StatusCode::kTimeout, "timeout");
    // ETOOMANYREFS: as many descriptors are in flight as the user may have; receivers take them
    // out within moments, which nothing signals to us.
    if (errno == EAGAIN)
      wait_for(socket, POLLOUT, until);
    else
      poll(nullptr, 0, 1);
  }
}

Status send_message(int socket, const Message& message, std::initializer_list<int> files,
                    const Until& until) {
  return send_packet(socket, &message, sizeof message, files, until);
}

PeerIdentity identity_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return {};
  return {true, credentials.uid, credentials.pid};
}

}  // namespace weft::internal
