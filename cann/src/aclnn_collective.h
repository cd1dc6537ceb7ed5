// SPDX-License-Identifier: Apache-2.0
// First phases of the matmul + collective operators: what their entry points share. The rules about
// operands are those of weft's operators; the rules that only CANN has are here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "aclnn_first_phase.h"
#include "base/memory.h"
#include "communicator.h"
#include "ops/dense.h"
#include "ops/local_matmul/operands.h"
#include "ops/rules.h"

namespace weft::cann {

/// Entry points that follow one table of rules.
struct Family {
  ops::CannEntry entry;
  ops::Scenario scenario;      ///< what x1 and x2 are
  std::span<const int> ranks;  ///< there are rows for these numbers of ranks
  int reduce_op_code;          ///< of a reduceOp other than "sum"
  bool takes_fractal_nz = false;
  bool empty_before_stream_mode = false;
};

/// What the operators that end in an all-reduce have rows for.
inline constexpr int kAllReduceRanks[] = {1, 2, 4, 8};

/// Parameters of every entry point.
struct Common {
  const char* op;  ///< the second phase
  const char* group;
  const char* reduce_op;
  std::int64_t comm_turn, stream_mode;
  Results results;
};

/// Parameters of any of them. What an entry point does not have keeps its value here, and the rules
/// about it hold.
struct Operands {
  const aclTensor *x1 = nullptr, *x2 = nullptr, *bias = nullptr, *x3 = nullptr;
  const aclTensor *dequant_scale = nullptr, *pertoken_scale = nullptr;
  const aclTensor *antiquant_scale = nullptr, *antiquant_offset = nullptr;
  const aclTensor *comm_quant_scale_1 = nullptr, *comm_quant_scale_2 = nullptr;
  const aclTensor *quant_scale = nullptr, *residual = nullptr, *gamma = nullptr;
  const aclTensor *output = nullptr, *norm_out = nullptr, *amax_out = nullptr;
  double epsilon = 0;
  std::int64_t antiquant_group_size = 0, group_size = 0, block_size = 0, comm_quant_mode = 0;
  const char* comm_mode = nullptr;
  const char *dequant_name = "dequantScale", *pertoken_name = "pertokenScale";
};

template <typename Native>
struct Planned;

/// One call of a first phase. An operand that breaks a rule which only CANN has, or a rule that
/// comes late, is replaced after the finding by one that does not, so that the others can be looked
/// at.
class CollectiveCall {
 public:
  CollectiveCall(const Family& family, const Common& common);

  const Family& family;
  const Common& common;
  Findings findings;

  // --- operands ---

  TensorRef required(const char* name, const aclTensor* handle);
  TensorRef optional(const char* name, const aclTensor* handle);
  /// x1, x2, bias and, of integers, the scale.
  template <typename Args>
  void factors(const Operands& from, Args& args, ConstTensorRef* scale) {
    args.x1 = required("x1", from.x1);
    args.bias = optional("bias", from.bias);
    if (scale)
      *scale = family.scenario == ops::Scenario::kQuant
                   ? required(from.dequant_name, from.dequant_scale)
                   : required("antiquantScale", from.antiquant_scale);
    args.x2 = weight(from.x2, scale ? *scale : ConstTensorRef());
    check_scenario(args.x1, args.x2);
  }
  /// An input that weft reads by rows. One whose rows are not adjacent is copied by the task.
  ConstTensorRef rows(const ConstTensorRef& tensor);

  // --- rules ---

  /// The largest extents of a weight of integers.
  void check_extents(const ConstTensorRef& x2);

  /// -1 and 0 if there is no such communicator.
  int rank() const { return communicator_ ? communicator_->rank() : -1; }
  int ranks() const { return communicator_ ? communicator_->ranks() : 0; }

  /// The end: everything is looked at, then planned. Native has Plan, Args,
  /// check(args, rank, ranks, empty), the rules of Plan::plan(), check_run(args, rank), those of
  /// Plan::run(), and check_limits(call, args), the rules of CANN that an operator without work may
  /// break; same_layout(args, args), of calls that can share a plan; also rows(args), the operand
  /// that went through rows(), if there is one.
  template <typename Native>
  aclnnStatus finish(typename Native::Args& args);

 private:
  template <typename Native>
  Result<std::shared_ptr<Planned<Native>>> plan(const typename Native::Args& args);
  TensorRef view(const char* name, const aclTensor* handle, bool keep_fractal_nz);
  TensorRef weight(const aclTensor* handle, const ConstTensorRef& scale);
  bool takes_fractal_nz(const Tensor& x2, const ConstTensorRef& scale) const;
  void check_scenario(ConstTensorRef& x1, ConstTensorRef& x2);
  void check_stream_mode();
  void check_attributes();

  std::string_view group_;
  std::shared_ptr<Communicator> communicator_;
  ConstTensorRef scattered_;
};

/// The scales of x2 that the scenario needs; null if it needs none.
template <typename Args>
ConstTensorRef* scale_of(ops::Scenario scenario, Args& args) {
  if (scenario == ops::Scenario::kQuant) return &args.dequant_scale;
  return scenario == ops::Scenario::kWeightQuant ? &args.antiquant_scale : nullptr;
}

/// What the second phase submits.
template <typename Native>
struct Planned : PlanPool::Plan {
  Planned(typename Native::Plan made, const typename Native::Args& with)
      : plan(std::move(made)), args(with) {}
  typename Native::Plan plan;
  typename Native::Args args;
  ConstTensorRef scattered = {};
  Buffer gathered = {};

  Status run() {
    if (scattered.given()) ops::copy_dense(scattered, gathered.data());
    return plan.run(args);
  }
};

template <typename Native>
aclnnStatus CollectiveCall::finish(typename Native::Args& args) {
  if (findings.final()) return findings.report();
  if (!family.empty_before_stream_mode) check_stream_mode();
  bool empty = false;
  findings.add(Native::check(args, rank(), ranks(), empty), family.entry);
  if (findings.final()) return findings.report();
  if (empty) return finish_empty(common.op, common.results);
  Native::check_limits(*this, args);
  check_attributes();
  if (findings.any()) return findings.report();
  Buffer gathered;
  if constexpr (requires { Native::rows(args); }) {
    if (scattered_.given()) {
      Result<Buffer> buffer =
          Buffer::allocate(bytes_of(scattered_.dtype(), scattered_.elements()), "gathered rows");
      if (!buffer.ok()) return no_plan(buffer.status());
      gathered = std::move(*buffer);
      Native::rows(args) = Native::rows(args).with_data(gathered.data());
    }
  }
  findings.add(Native::check_run(args, rank()), family.entry);
  if (findings.any()) return findings.report();
  Result<std::shared_ptr<Planned<Native>>> planned = plan<Native>(args);
  if (!planned.ok()) return no_plan(planned.status());
  (*planned)->scattered = scattered_;
  (*planned)->gathered = std::move(gathered);
  return cann::finish(
      common.op, common.results,
      [planned = *planned, communicator = communicator_](const auto&, Stream& stream) {
        return Communicator::submit(
            communicator, stream, [planned](Context&, Group&) { return planned->run(); },
            OnFailure::kStop);
      });
}

template <typename Native>
Result<std::shared_ptr<Planned<Native>>> CollectiveCall::plan(const typename Native::Args& args) {
  using Mine = Planned<Native>;
  const bool keep = !scattered_.given() && ops::rows_of(args.x1) <= kMostRowsOfKeptPlan;
  std::unique_ptr<Mine> mine;
  if (keep)
    mine = communicator_->plans.take<Mine>(
        [&](const Mine& kept) { return Native::same_layout(kept.args, args); });
  if (mine) {
    mine->args = args;
  } else {
    WEFT_ASSIGN_OR_RETURN(
        auto made, Native::Plan::plan(communicator_->context(), communicator_->group(), args));
    mine = std::make_unique<Mine>(std::move(made), args);
  }
  if (!keep) return std::shared_ptr<Mine>(std::move(mine));
  // Back to the pool when the executor and its task are gone.
  return std::shared_ptr<Mine>(mine.release(), [communicator = communicator_](Mine* used) {
    communicator->plans.keep(std::unique_ptr<Mine>(used));
  });
}

/// The same operands, if any, with the same layouts: members of Args by pointer.
template <typename Args, typename... Member>
bool same_layouts(const Args& a, const Args& b, Member... members) {
  return (ops::same_layout(a.*members, b.*members) && ...);
}

}  // namespace weft::cann
