// SPDX-License-Identifier: Apache-2.0
// What travels while a group of processes forms, over a sequenced-packet unix socket: a packet
// arrives whole or not at all, so nobody ever waits for the rest of one.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "comm/interruption.h"
#include "comm/unique_fd.h"
#include "comm/unique_id.h"
#include "weft/status.h"

namespace weft::internal {

/// First packet of a joiner, with its segment file attached.
struct Hello {
  static constexpr std::uint64_t kMagic = 0x316f6c6c65487457;  // "WtHello1"
  std::uint64_t magic = kMagic;
  std::array<std::uint64_t, 2> secret{};
  /// Changes with everything processes share: this packet and the control block.
  std::uint64_t layout = 0;
  std::int32_t rank = 0, ranks = 0;
  std::int64_t window_bytes = 0;
  char name[128] = {};
};

enum class Kind : std::int32_t {
  kWelcome,  ///< rank 0: your hello is accepted, wait
  kPeer,     ///< rank 0: segment file and pidfd of a rank are attached
  kReady,    ///< joiner: everything is mapped
  kGo,       ///< rank 0: all are ready; the group has formed
  kFail,     ///< either way: code and text of the status that ends the forming
  kGiveUp,   ///< joiner: my time is over; answer kFail
};

struct Message {
  Kind kind = Kind::kFail;
  std::int32_t rank = 0;   ///< kPeer: whose segment
  std::int32_t watch = 0;  ///< kPeer: the rank whose pidfd tells of its end, -1: your own process
  std::int32_t code = 0;   ///< kFail
  char text[1008] = {};    ///< kFail
};

Message fail_message(const Status& status);
Status status_of(const Message& message);

/// How long a rank waits while its group forms.
struct Until {
  std::int64_t deadline_ns = 0;
  Interruption* interruption = nullptr;  ///< null: the program is not asked

  /// The deadline has passed, or the program wants no more.
  bool over() const;
  /// Milliseconds for poll(): until the deadline, rounded up, or until it is time to ask. At least
  /// 0, at most a minute.
  int poll_ms() const;
  Until no_later_than(std::int64_t ns) const;
};

/// Outcome of one receive.
enum class Received { kPacket, kNothingYet, kClosed };

/// What came with a packet. Descriptors that are not taken are closed.
struct Packet {
  std::size_t bytes = 0;
  bool truncated = false;
  std::vector<UniqueFd> files;
};

/// Never blocks. A packet larger than `capacity` is reported as truncated.
Received receive(int socket, void* data, std::size_t capacity, Packet& packet);

/// Waits for a Message. kTimeout when it is over, or kPeerLost if the other side closed; the
/// message of the status is for the caller to write.
Status receive_message(int socket, const Until& until, Message& message, Packet& packet);

/// Waits for room. Files are lent.
Status send_packet(int socket, const void* data, std::size_t bytes,
                   std::initializer_list<int> files, const Until& until);
Status send_message(int socket, const Message& message, std::initializer_list<int> files,
                    const Until& until);

/// The uid and pid of the process that connected or listens, as the kernel knows them.
struct PeerIdentity {
  bool known = false;
  std::int64_t uid = -1;
  int pid = -1;
};
PeerIdentity identity_of(int socket);

}  // namespace weft::internal
