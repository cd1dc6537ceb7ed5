// SPDX-License-Identifier: Apache-2.0
// Calls so small that making them counts: planning, the run of a kept plan, and the function that
// plans each time.
#pragma once

#include <functional>

#include "operators/cases.h"
#include "report.h"
#include "team.h"

namespace weft::bench {

/// An operator on a team of one rank.
class SmallJob {
 public:
  SmallJob(Team& team, const tools::Case& c);

  // Seconds of one of many calls that follow each other at once.
  double planning();   ///< the end of the plan included
  double run_again();  ///< of a plan that is kept
  /// What the free function, which plans each time, takes above that: both in turn.
  double free_function_above();

  Work work() const { return {.flops = flops_, .bytes = bytes_}; }

 private:
  template <typename Op, typename Args, typename FreeFunction>
  void prepare(Context& context, Group& group, const FreeFunction& free_function);
  /// Runs `calls` as often as there are in a millisecond, but a few times at least.
  void repeat(const std::function<void()>& calls);
  double seconds_of_one(const std::function<void()>& call);

  Team& team_;
  tools::Operands operands_;
  std::function<void()> plan_, run_, free_function_;
  double flops_ = 0, bytes_ = 0;
};

}  // namespace weft::bench
