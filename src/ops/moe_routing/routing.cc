// SPDX-License-Identifier: Apache-2.0
#include "ops/moe_routing/routing.h"

#include <algorithm>
#include <utility>

namespace weft::ops {

ActiveMask::ActiveMask(const ConstTensorRef& mask, std::int64_t tokens, std::int64_t k)
    : mask_(mask), bits_(static_cast<const std::uint8_t*>(mask.data())), k_(k), first_(tokens) {
  if (mask.rank() != 1) return;
  first_ = 0;
  for (std::int64_t t = 0; t < tokens; ++t) first_ += bits_[t * mask.stride(0)] != 0 ? 1 : 0;
}

bool ActiveMask::token(std::int64_t t) const {
  if (mask_.rank() != 2) return t < first_;
  for (std::int64_t k = 0; k < k_; ++k)
    if (entry(t, k)) return true;
  return false;
}

Routing::Routing(const Placement& placement, const MoeExperts& experts, int rank,
                 std::int64_t tokens, std::int64_t k)
    : placement_(placement),
      experts_(experts),
      rank_(rank),
      tokens_(tokens),
      k_(k),
      entries_(static_cast<std::size_t>(tokens * (k + experts.shared_expert_num))),
      begin_(static_cast<std::size_t>(placement.places() + 1)),
      seen_(static_cast<std::size_t>(experts.moe_expert_num)) {}

// visit(place, entry) for every row, in the order of (t, k); shared copies behind the routed ones.
template <typename Visit>
void Routing::for_rows(const Matrix<std::int32_t>& ids, const ActiveMask& mask,
                       const Visit& visit) {
  for (std::int64_t t = 0; t < tokens_; ++t) {
    if (!mask.token(t)) continue;
    const auto token = static_cast<std::int32_t>(t);
    for (std::int64_t k = 0; k < k_; ++k) {
      const std::int64_t id = ids.at(t, k);
      if (id < 0 || id >= experts_.moe_expert_num || !mask.entry(t, k)) continue;
      visit(placement_.place_of(id), Entry{token, static_cast<std::int32_t>(k)});
    }
    for (std::int64_t j = 0; j < experts_.shared_expert_num; ++j)
      visit(placement_.shared_place(j, rank_, t, tokens_),
            Entry{token, static_cast<std::int32_t>(k_ + j)});
  }
}

void Routing::route(const ConstTensorRef& expert_ids, const ConstTensorRef& active) {
  const Matrix<std::int32_t> ids(expert_ids);
  const ActiveMask mask(active, tokens_, k_);
  // A counting sort: rows of each place, where they begin, then every row in its place.
  std::ranges::fill(begin_, 0);
  for_rows(ids, mask,
           [&](std::int64_t place, Entry) { ++begin_[static_cast<std::size_t>(place)]; });
  std::size_t before = 0;
  for (std::size_t& begin : begin_) before += std::exchange(begin, before);
  counts_ = {.rows_sent = static_cast<std::int64_t>(begin_.back())};
  for_rows(ids, mask, [&](std::int64_t place, Entry entry) {
    entries_[begin_[static_cast<std::size_t>(place)]++] = entry;
  });
  // Each begin has become the next one's.
  std::shift_right(begin_.begin(), begin_.end(), 1);
  begin_.front() = 0;

  const std::int64_t nowhere =
      experts_.zero_expert_num + experts_.copy_expert_num + experts_.const_expert_num;
  std::ranges::fill(seen_, 0);
  for (std::int64_t t = 0; t < tokens_; ++t)
    for (std::int64_t k = 0; k < k_; ++k) {
      if (!mask.entry(t, k)) continue;
      const std::int64_t id = ids.at(t, k);
      if (id < 0 || id >= experts_.moe_expert_num + nowhere) ++counts_.out_of_range;
      if (id < 0 || id >= experts_.moe_expert_num) continue;
      if (std::exchange(seen_[static_cast<std::size_t>(id)], t + 1) == t + 1) ++counts_.doubled;
    }
}

}  // namespace weft::ops
