// SPDX-License-Identifier: Apache-2.0
// A link of so many bytes per second out of every rank, both directions at once, no latency: what
// two hosts would have between them. For ranks that are threads of this process.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <vector>

#include "comm/group_state.h"

namespace weft::bench {

class ThrottledLink : public internal::Link {
 public:
  ThrottledLink(int ranks, double bytes_per_s)
      : bytes_per_s_(bytes_per_s), ranks_(static_cast<size_t>(ranks)) {}
  void send(int rank, internal::CounterId id, std::uint64_t value, std::int64_t bytes) override;
  void receive(int peer, internal::CounterId id, std::uint64_t value) override;

 private:
  struct Message {
    std::uint64_t value;
    std::int64_t due_ns;
  };
  struct Rank {
    std::int64_t free_ns = 0;  ///< when what it sent before has left
    std::array<std::deque<Message>, static_cast<size_t>(internal::CounterId::kCount)> sent;
  };
  const double bytes_per_s_;
  std::mutex mutex_;  ///< of all below
  std::vector<Rank> ranks_;
};

}  // namespace weft::bench
