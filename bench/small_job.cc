// SPDX-License-Identifier: Apache-2.0
#include "small_job.h"

#include <memory>
#include <utility>
#include <vector>

#include "jobs/job.h"
#include "operators/args.h"
#include "operators/operator.h"

namespace weft::bench {

SmallJob::SmallJob(Team& team, const tools::Case& c) : team_(team) {
  team_.run([&](int rank) {
    operands_ = require(tools::RandomSource(c).make(rank, 1));
    require(operands_.make_outputs(c.op().outputs(operands_, 1, tools::OutputForm::kSeparate)));
    Context& context = team_.context(rank);
    Group& group = team_.group(rank);
    const std::string_view name = c.op().name();
    const auto collective = [&](auto call) {
      return [&context, &group, call](const auto& args) { return call(context, group, args); };
    };
    if (name == "matmul_allreduce")
      prepare<MatmulAllReduce, MatmulAllReduceArgs>(
          context, group, collective([](auto&... call) { return matmul_allreduce(call...); }));
    else if (name == "add_rmsnorm")
      prepare<AddRmsNorm, AddRmsNormArgs>(
          context, group, [&context](const auto& args) { return add_rmsnorm(context, args); });
    else if (name == "ffn")
      prepare<Ffn, FfnArgs>(context, group,
                            [&context](const auto& args) { return ffn(context, args); });
    else if (name == "moe_dispatch")
      prepare<MoeDispatch, MoeDispatchArgs>(
          context, group, collective([](auto&... call) { return moe_dispatch(call...); }));
    else
      prepare<MoeCombine, MoeCombineArgs>(
          context, group, collective([](auto&... call) { return moe_combine(call...); }));
  });
  flops_ = c.op().flops(c, 1);
  bytes_ = c.op().bytes_moved(operands_, 1);
}

template <typename Op, typename Args, typename FreeFunction>
void SmallJob::prepare(Context& context, Group& group, const FreeFunction& free_function) {
  const auto make = [&context, &group](const Args& args) {
    if constexpr (requires { Op::plan(context, group, args); })
      return require(Op::plan(context, group, args));
    else
      return require(Op::plan(context, args));
  };
  const auto args = operands_.args<Args>();
  auto kept = std::make_shared<Op>(make(args));
  plan_ = [make, args] { make(args); };
  run_ = [kept, args] { require(kept->run(args)); };
  free_function_ = [free_function, args] { require(free_function(args)); };
}

double SmallJob::planning() { return seconds_of_one(plan_); }
double SmallJob::run_again() { return seconds_of_one(run_); }

double SmallJob::free_function_above() {
  std::vector<double> free, kept;
  const auto timed = [](const std::function<void()>& call) {
    const std::int64_t begin = trace_now_ns();
    call();
    return static_cast<double>(trace_now_ns() - begin) * 1e-9;
  };
  repeat([&] {
    free.push_back(timed(free_function_));
    kept.push_back(timed(run_));
  });
  return tools::median(std::move(free)) - tools::median(std::move(kept));
}

double SmallJob::seconds_of_one(const std::function<void()>& call) {
  constexpr int kBetweenLooks = 4;  // at the clock
  std::int64_t begin = 0, end = 0;
  int calls = -kBetweenLooks;  // the first ones only warm up
  repeat([&] {
    if (calls == 0) begin = trace_now_ns();
    for (int i = 0; i < kBetweenLooks; ++i) call();
    calls += kBetweenLooks;
    end = trace_now_ns();
  });
  return static_cast<double>(end - begin) * 1e-9 / calls;
}

void SmallJob::repeat(const std::function<void()>& calls) {
  constexpr std::int64_t kLeastNs = 1'000'000;
  constexpr int kLeast = 5;
  team_.run([&](int) {
    const std::int64_t begin = trace_now_ns();
    for (int i = 0; i < kLeast || trace_now_ns() < begin + kLeastNs; ++i) calls();
  });
}

}  // namespace weft::bench
