// SPDX-License-Identifier: Apache-2.0
// The second half of rank 0's side. Everybody here knows the secret, so it may wait for one after
// the other.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "comm/rendezvous/member.h"

namespace weft::internal {
namespace {

std::size_t index(int rank) { return static_cast<std::size_t>(rank); }

class HandOut {
 public:
  HandOut(const Forming& forming, const UniqueFd& own_file, const UniqueFd& own_pidfd,
          std::vector<Member>& members)
      : forming_(forming),
        own_file_(own_file),
        own_pidfd_(own_pidfd),
        members_(members),
        until_{std::max(forming.until.deadline_ns, now_ns() + kHandOutNs),
               forming.until.interruption} {}

  Result<std::vector<ShmPeer>> run();

 private:
  void find_processes();
  Status map_all();
  Status send_peers_to(const Member& member);
  Status await_ready(const Member& member);

  const Forming& forming_;
  const UniqueFd& own_file_;
  const UniqueFd& own_pidfd_;
  std::vector<Member>& members_;  // in rank order from 1
  const Until until_;
  std::vector<int> process_;  ///< per rank, the lowest rank of the same process
  std::vector<ShmPeer> peers_;
};

Result<std::vector<ShmPeer>> HandOut::run() {
  std::sort(members_.begin(), members_.end(),
            [](const Member& a, const Member& b) { return a.hello.rank < b.hello.rank; });
  find_processes();
  WEFT_RETURN_IF_ERROR(map_all());
  for (const Member& member : members_) WEFT_RETURN_IF_ERROR(send_peers_to(member));
  for (const Member& member : members_) WEFT_RETURN_IF_ERROR(await_ready(member));
  Message go;
  go.kind = Kind::kGo;
  // One that dies now is found by the first wait of the group.
  for (const Member& member : members_) (void)send_message(member.socket.get(), go, {}, until_);
  for (Member& member : members_) {
    ShmPeer& peer = peers_[index(member.hello.rank)];
    if (peer.watch == member.hello.rank) peer.pidfd = std::move(member.pidfd);
  }
  return std::move(peers_);
}

void HandOut::find_processes() {
  process_ = {0};
  for (const Member& member : members_) {
    int lowest = member.pid == getpid() ? 0 : member.hello.rank;
    for (const Member& other : members_)
      if (lowest != 0 && member.pid > 0 && other.pid == member.pid)
        lowest = std::min(lowest, other.hello.rank);
    process_.push_back(lowest);
  }
}

Status HandOut::map_all() {
  peers_.resize(index(forming_.ranks));
  for (int rank = 0; rank < forming_.ranks; ++rank) {
    const UniqueFd& file = rank == 0 ? own_file_ : members_[index(rank - 1)].file;
    ShmPeer& peer = peers_[index(rank)];
    WEFT_ASSIGN_OR_RETURN(peer.mapping, Mapping::of_file(file.get(), forming_.layout()));
    peer.watch = process_[index(rank)] == 0 ? -1 : process_[index(rank)];
  }
  construct_control_block(peers_[0].mapping, forming_.ranks);
  return {};
}

Status HandOut::send_peers_to(const Member& member) {
  for (int rank = 0; rank < forming_.ranks; ++rank) {
    if (rank == member.hello.rank) continue;
    const int process = process_[index(rank)];
    Message message;
    message.kind = Kind::kPeer;
    message.rank = rank;
    message.watch = process == process_[index(member.hello.rank)] ? -1 : process;
    const int file = (rank == 0 ? own_file_ : members_[index(rank - 1)].file).get();
    const int pidfd = (rank == 0 ? own_pidfd_ : members_[index(rank - 1)].pidfd).get();
    const int socket = member.socket.get();
    const Status sent = message.watch == rank ? send_message(socket, message, {file, pidfd}, until_)
                                              : send_message(socket, message, {file}, until_);
    // A closed socket may still hold the reason.
    if (sent.code() == StatusCode::kPeerLost) return await_ready(member);
    WEFT_RETURN_IF_ERROR(sent);
  }
  return {};
}

Status HandOut::await_ready(const Member& member) {
  Message message;
  Packet packet;
  const Status status = receive_message(member.socket.get(), until_, message, packet);
  if (status.code() == StatusCode::kPeerLost || (status.ok() && message.kind == Kind::kGiveUp))
    return Status(StatusCode::kPeerLost,
                  fmt::format("group: rank {} ended while the group was forming. Start it again "
                              "and join with a new unique id.",
                              member.hello.rank));
  if (status.code() == StatusCode::kTimeout)
    return Status(StatusCode::kTimeout,
                  fmt::format("group: rank {} joined but then did not answer; it may be stopped",
                              member.hello.rank));
  WEFT_RETURN_IF_ERROR(status);
  return message.kind == Kind::kReady ? Status() : status_of(message);
}

}  // namespace

Result<std::vector<ShmPeer>> hand_out_segments(const Forming& forming, const UniqueFd& own_file,
                                               const UniqueFd& own_pidfd,
                                               std::vector<Member>& members) {
  return HandOut(forming, own_file, own_pidfd, members).run();
}

}  // namespace weft::internal
