// SPDX-License-Identifier: Apache-2.0
// Plans that wait for a call like the one they were made for: a decode step does not plan anew what
// the last one has planned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "weft/context.h"
#include "weft/status.h"

namespace weft::cann {

/// Calls with more rows take long enough to plan anew, and their plans are large.
inline constexpr std::int64_t kMostRowsOfKeptPlan = 256;

/// Of one rank, or of a device's work without ranks.
class PlanPool {
 public:
  /// What is kept; each operator derives its own.
  struct Plan {
    virtual ~Plan() = default;
  };

  /// A plan for which `fits` holds, or null. The caller has it alone.
  template <typename Wanted, typename Fits>
  std::unique_ptr<Wanted> take(const Fits& fits) {
    const std::lock_guard lock(mutex_);
    for (auto plan = plans_.begin(); plan != plans_.end(); ++plan) {
      auto* const found = dynamic_cast<Wanted*>(plan->get());
      if (!found || !fits(*found)) continue;
      plan->release();
      plans_.erase(plan);
      return std::unique_ptr<Wanted>(found);
    }
    return nullptr;
  }
  /// The plan that was not used for the longest time goes when there are too many.
  void keep(std::unique_ptr<Plan> plan) {
    std::list<std::unique_ptr<Plan>> dropped;  // its memory goes without the mutex
    const std::lock_guard lock(mutex_);
    plans_.push_front(std::move(plan));
    if (plans_.size() > kMost) dropped.splice(dropped.begin(), plans_, std::prev(plans_.end()));
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    plans_.clear();
  }

 private:
  static constexpr std::size_t kMost = 8;  // a model has a few layers of one kind each

  std::mutex mutex_;
  std::list<std::unique_ptr<Plan>> plans_;  // latest first
};

/// Runs an operator without ranks with a plan that an earlier call like this one left, or with one
/// of its own. fits(kept, args): whether the plan made for `kept` is one for `args`. By the task:
/// a plan uses the threads of the device, which go when that is reset.
template <typename Operator, typename Args, typename Fits>
Status run_planned(Context& context, PlanPool& plans, const Args& args, std::int64_t rows,
                   const Fits& fits) {
  struct Kept : PlanPool::Plan {
    Kept(Operator made, const Args& with) : plan(std::move(made)), args(with) {}
    Operator plan;
    Args args;
  };
  const bool keep = rows <= kMostRowsOfKeptPlan;
  std::unique_ptr<Kept> mine;
  if (keep) mine = plans.take<Kept>([&](const Kept& kept) { return fits(kept.args, args); });
  if (!mine) {
    WEFT_ASSIGN_OR_RETURN(Operator made, Operator::plan(context, args));
    mine = std::make_unique<Kept>(std::move(made), args);
  }
  const Status status = mine->plan.run(args);
  if (keep) plans.keep(std::move(mine));
  return status;
}

}  // namespace weft::cann
