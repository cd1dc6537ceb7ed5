// SPDX-License-Identifier: Apache-2.0
// TP: the two ranks that hold the same expert give each other the rows that they got.
#include <fmt/core.h>

#include <algorithm>

#include "ops/moe_dispatch/plan.h"
#include "weft/collectives.h"

namespace weft::ops {
namespace {

using internal::MoeDispatchPlan;

// What each of the two says: rows, room, and its ep_recv_counts.
enum Word { kRows, kCapacity, kCounts };

class Pair {
 public:
  Pair(MoeDispatchPlan& plan, const MoeDispatchArgs& args)
      : plan_(plan),
        args_(args),
        tp_(*plan.options.tp_group),
        words_(plan.group.ranks() + kCounts),
        counts_(static_cast<std::int32_t*>(args.ep_recv_counts.data())) {}

  Status run() {
    const int own = tp_.rank(), other = 1 - own, ranks = plan_.group.ranks();
    of(own)[kRows] = counts_[ranks - 1];
    of(own)[kCapacity] = static_cast<std::int32_t>(args_.expand_x.dim(0));
    std::copy_n(counts_, ranks, of(own) + kCounts);
    WEFT_RETURN_IF_ERROR(
        allgather(plan_.context, tp_, of(own), plan_.pair.data(), words_, DType::kInt32));
    WEFT_RETURN_IF_ERROR(check_capacities());
    WEFT_RETURN_IF_ERROR(gather(args_.expand_x, args_.x.dim(1)));
    if (plan_.wire.scale_offset >= 0) WEFT_RETURN_IF_ERROR(gather(args_.dynamic_scales, 1));
    std::copy_n(of(other) + kCounts, ranks, counts_ + ranks);
    auto* const tp_counts = static_cast<std::int32_t*>(args_.tp_recv_counts.data());
    for (int q = 0; q < 2; ++q) tp_counts[q] = of(q)[kRows];
    *static_cast<std::int64_t*>(args_.expert_token_nums.data()) = rows(0) + rows(1);
    return {};
  }

 private:
  std::int32_t* of(int rank) { return plan_.pair.data() + rank * words_; }
  std::int64_t rows(int rank) { return of(rank)[kRows]; }

  // Both see the same.
  Status check_capacities() {
    for (int q = 0; q < 2; ++q) {
      if (rows(0) + rows(1) <= of(q)[kCapacity]) continue;
      return Status(
          StatusCode::kInvalidArgument,
          fmt::format(
              "{}: {} rows arrive at the two ranks of a TP pair, but expand_x of TP rank {} "
              "takes {}; give both an expand_x with at least as many rows as arrive at both",
              kMoeDispatch, rows(0) + rows(1), q, of(q)[kCapacity]));
    }
    return {};
  }

  // The other's rows come behind the own ones.
  Status gather(const TensorRef& tensor, std::int64_t columns) {
    const std::int64_t counts[] = {rows(0) * columns, rows(1) * columns};
    std::int64_t offsets[] = {0, 0};
    offsets[1 - tp_.rank()] = counts[tp_.rank()];
    return allgatherv(plan_.context, tp_, tensor.data(), tensor.data(), counts, offsets,
                      tensor.dtype());
  }

  MoeDispatchPlan& plan_;
  const MoeDispatchArgs& args_;
  Group& tp_;
  const std::int64_t words_;
  std::int32_t* const counts_;
};

}  // namespace

Status gather_pair(MoeDispatchPlan& plan, const MoeDispatchArgs& args) {
  return Pair(plan, args).run();
}

}  // namespace weft::ops
