// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "ops/collectives/run.h"

namespace weft::ops {

using internal::CounterId;

// What is short travels before anybody knows how long the parts of the others are, one part after
// the other in the one-shot half of the window. When all have announced their counts it is known
// whether that was all; if not, the exchange begins anew, now that its blocks can be cut.
Status CollectiveRun::exchange_announced(const Parts& out, const Parts& in,
                                         std::int64_t element_bytes, std::string_view op) {
  const auto half = [&](int rank) {
    return tile::one_shot_half(group_, rank, tile::this_call(group_));
  };
  const auto is_short = [&](int rank) {
    return announced_bytes(rank, ranks(), element_bytes) <=
           std::min(kOneShotBytes, tile::one_shot_bytes(group_.window_bytes()));
  };
  if (is_short(rank()))
    for (int i = 1; i < ranks(); ++i)
      copy(out.at(after(i)), half(rank()) + announced_bytes(rank(), after(i), element_bytes),
           out.bytes(after(i)), false);
  const std::uint64_t published = group_.own(CounterId::kPartial) + 1;
  group_.publish(CounterId::kPartial, published);
  WEFT_RETURN_IF_ERROR(group_.check_peers());
  WEFT_RETURN_IF_ERROR(check_announced(op));
  bool all_short = true;
  for (int rank = 0; all_short && rank < ranks(); ++rank) all_short = is_short(rank);
  if (!all_short) return exchange(out, in, longest_announced() * element_bytes, nullptr);
  for (int i = 1; i <= ranks(); ++i) {
    const int from = after(i);
    const bool own = from == rank();
    if (in.bytes(from) == 0) continue;
    if (!own) WEFT_RETURN_IF_ERROR(group_.wait(from, CounterId::kPartial, published, {kData}));
    copy(own ? out.at(from) : half(from) + announced_bytes(from, rank(), element_bytes),
         in.at(from), in.bytes(from), false);
  }
  return {};
}

std::int64_t CollectiveRun::announced_bytes(int rank, int to, std::int64_t element_bytes) const {
  std::int64_t bytes = 0;
  for (int q = 0; q < to; ++q)
    if (q != rank) bytes += round_up(group_.announced(rank, q).to * element_bytes, kRow);
  return bytes;
}

std::int64_t CollectiveRun::longest_announced() const {
  std::int64_t longest = 0;
  for (int r = 0; r < ranks(); ++r)
    for (int q = 0; q < ranks(); ++q) longest = std::max(longest, group_.announced(r, q).to);
  return longest;
}

// Every rank looks at all pairs, so that all find the same difference, also ranks that have no part
// in it.
Status CollectiveRun::check_announced(std::string_view op) {
  for (int from = 0; from < ranks(); ++from)
    for (int to = 0; to < ranks(); ++to) {
      const std::int64_t sent = group_.announced(from, to).to;
      const std::int64_t expected = group_.announced(to, from).from;
      if (sent != expected)
        return group_.poison(
            Status(StatusCode::kMismatch,
                   fmt::format("{}: rank {} sends {} elements to rank {}, which expects {}. Give "
                               "both the same count and form a new group.",
                               op, from, sent, to, expected)));
    }
  return {};
}

}  // namespace weft::ops
