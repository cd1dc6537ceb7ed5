// SPDX-License-Identifier: Apache-2.0
// A model of a slower link between ranks, for measurements on one host: who reads a tile waits
// until the link would have brought it.
#pragma once

#include <cstdint>

namespace weft::internal {

enum class CounterId : int;

class Link {
 public:
  virtual ~Link() = default;
  /// `rank` is about to publish `value`; `bytes` of what it makes readable leave the rank.
  virtual void send(int rank, CounterId id, std::uint64_t value, std::int64_t bytes) = 0;
  /// Returns once what `peer` sent with `value` has arrived. Its counter has reached the value.
  virtual void receive(int peer, CounterId id, std::uint64_t value) = 0;
};

}  // namespace weft::internal
