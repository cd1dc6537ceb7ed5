// SPDX-License-Identifier: Apache-2.0
// What the second phases of aclnnMoeDistribute… submit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "communicator.h"
#include "ops/moe_combine/contract.h"
#include "ops/moe_combine_add_rmsnorm/contract.h"
#include "ops/moe_dispatch/contract.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft::cann {

/// Inputs that a native operator wants with adjacent elements; those that have none are copied by
/// the task, because earlier tasks may write them.
class Gathered {
 public:
  /// Replaces an operand whose rows, or all of whose elements, are not adjacent by one that will
  /// be. It stays where it is in memory.
  void rows(ConstTensorRef& operand);
  void dense(ConstTensorRef& operand);
  /// When nothing is wrong with the call.
  Status allocate();
  void copy() const;

 private:
  struct Copy {
    ConstTensorRef* operand;
    ConstTensorRef from;
    Buffer memory = {};
  };
  void replace(ConstTensorRef& operand);
  std::vector<Copy> copies_;
};

/// One call: what its first phase leaves to the second. Does not move.
class MoeTask {
 public:
  MoeTask() = default;
  virtual ~MoeTask() = default;
  MoeTask(const MoeTask&) = delete;
  MoeTask& operator=(const MoeTask&) = delete;

  // In this order; check_run() with all memory there.
  virtual Status check_plan(int rank, int ranks, bool tp) const = 0;
  virtual Status check_run(int rank) const = 0;
  virtual Status plan() = 0;
  Status run();

  std::shared_ptr<Communicator> ep, tp;  ///< tp: null without TP
  Gathered gathered;
  ConstTensorRef elastic_info;

 private:
  virtual Status call() = 0;
};

/// The operand says that all ranks are there; else kUnimplemented. Not given: so they are.
Status check_elastic_info(const char* name, const ConstTensorRef& info);

/// A plan of a native operator for one call, new or kept from one like it.
template <typename Op, typename Args, typename Options>
class MoeNative {
 public:
  Args args;
  Options options;

  /// `tokens`: with many of them planning costs little, and plans are large. Plans with TP are not
  /// kept: they would hold on to the second communicator.
  Status plan(const MoeTask& task, std::int64_t tokens) {
    const std::shared_ptr<Communicator>& ep = task.ep;
    const bool keep = !task.tp && tokens <= kMostRowsOfKeptPlan;
    std::unique_ptr<Kept> mine;
    if (keep)
      mine = ep->plans.take<Kept>([&](const Kept& kept) {
        return ops::check_run(kept.args, args, ep->rank()).ok();  // of the same layout
      });
    if (!mine) {
      mine = std::make_unique<Kept>();
      mine->args = args;
      if (task.tp) options.tp_group = &task.tp->group();
      if constexpr (requires { options.counts; }) options.counts = &mine->counts;
      WEFT_ASSIGN_OR_RETURN(Op made, Op::plan(ep->context(), ep->group(), args, options));
      mine->plan.emplace(std::move(made));
    }
    if (!keep) {
      kept_ = std::move(mine);
      return {};
    }
    // Back to the pool when the executor and its task are gone.
    kept_ = std::shared_ptr<Kept>(
        mine.release(), [ep](Kept* used) { ep->plans.keep(std::unique_ptr<Kept>(used)); });
    return {};
  }
  Status run() { return kept_->plan->run(args); }
  const MoeDispatchCounts& counts() const { return kept_->counts; }

 private:
  struct Kept : PlanPool::Plan {
    Args args;
    MoeDispatchCounts counts;
    std::optional<Op> plan;
  };
  std::shared_ptr<Kept> kept_;
};

}  // namespace weft::cann
