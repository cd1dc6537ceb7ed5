// SPDX-License-Identifier: Apache-2.0
// What an operator needs to be a Python function and a Python class of planned calls: a Call.
//
//   struct AddRmsNormCall : LocalCall<AddRmsNorm, AddRmsNormArgs> {
//     static constexpr const char* kName = "add_rmsnorm";
//     explicit AddRmsNormCall(Arguments& from);    takes the operands in their order
//   };
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <utility>

#include "core/arguments.h"
#include "core/gil.h"
#include "core/place.h"

namespace weft::python {

template <typename OperatorType, typename ArgsType>
struct BasicCall {
  using Operator = OperatorType;
  ArgsType args;
  Communicator* pair = nullptr;  ///< a second group, whose turn the call needs as well
  nb::object pair_owner = {};

  /// What a plan fixes beside args.
  bool same_options(const BasicCall&) const { return true; }
  /// What the Python function gets: of this call, or of the planned one that ran in its place.
  nb::object result() const { return nb::none(); }
  void take_result(const BasicCall&) {}
};

/// Of an operator without ranks.
template <typename Operator, typename Args>
struct LocalCall : BasicCall<Operator, Args> {
  static constexpr bool kNeedsGroup = false;
  Result<Operator> plan(Context& context, Group*, Group*) {
    return Operator::plan(context, this->args);
  }
};

/// Of an operator that all ranks call.
template <typename Operator, typename Args>
struct CollectiveCall : BasicCall<Operator, Args> {
  static constexpr bool kNeedsGroup = true;
  Result<Operator> plan(Context& context, Group* group, Group*) {
    return Operator::plan(context, *group, this->args);
  }
};

/// do(context, group, pair) without the GIL, when it is the call's turn in all of them.
template <typename Call, typename Do>
void in_turn(const Place& place, const Call& call, const Do& action) {
  without_gil([&] {
    return place.run([&](Context& context, Group* group) -> Status {
      if (!call.pair) return action(context, group, nullptr);
      return call.pair->run([&](Context&, Group& pair) { return action(context, group, &pair); });
    });
  });
}

/// Stands for a group or context while a Python function plans instead of computing.
struct Planner {
  nb::object target;
  nb::object planned;  ///< the Planned, once there is one
};

template <typename Call>
class Planned {
 public:
  Planned(nb::object target, const Call& call)
      : target_(std::move(target)),
        place_(Place::of(Call::kName, target_, Call::kNeedsGroup)),
        call_(call) {
    in_turn(place_, call_, [&](Context& context, Group* group, Group* pair) -> Status {
      WEFT_ASSIGN_OR_RETURN(plan_, call_.plan(context, group, pair));
      return {};
    });
  }

  nb::object run(Call& call) {
    if (call.pair != call_.pair || !call_.same_options(call))
      throw nb::value_error(
          (std::string(Call::kName) + ": options differ from the plan's. Plan again.").c_str());
    in_turn(place_, call_, [&](Context&, Group*, Group*) {
      Status status = plan_->run(call.args);
      call.take_result(call_);
      return status;
    });
    return call.result();
  }

  std::string describe() const {
    std::string text;
    in_turn(place_, call_, [&](Context&, Group*, Group*) -> Status {
      text = plan_->describe();  // which asks the group
      return {};
    });
    return text;
  }

 private:
  nb::object target_;
  Place place_;
  Call call_;
  std::optional<typename Call::Operator> plan_;
};

/// Plans and runs, only plans (a Planner), or runs what is planned (a Planned).
template <typename Call>
nb::object call(nb::handle target, const nb::args& operands) {
  Arguments from(Call::kName, operands);
  Call call(from);
  from.end();
  if (Planned<Call>* planned = nullptr; nb::try_cast(target, planned, false) && planned)
    return planned->run(call);
  if (Planner* planner = nullptr; nb::try_cast(target, planner, false) && planner) {
    planner->planned =
        nb::cast(new Planned<Call>(planner->target, call), nb::rv_policy::take_ownership);
    return nb::none();
  }
  in_turn(Place::of(Call::kName, target, Call::kNeedsGroup), call,
          [&](Context& context, Group* group, Group* pair) -> Status {
            WEFT_ASSIGN_OR_RETURN(auto plan, call.plan(context, group, pair));
            return plan.run(call.args);
          });
  return call.result();
}

template <typename Call>
void bind_operator(nb::module_& module) {
  module.def(Call::kName, &call<Call>, nb::arg("target").none(), nb::arg("operands"));
  nb::class_<Planned<Call>>(module, (std::string("Planned_") + Call::kName).c_str())
      .def("describe", &Planned<Call>::describe);
}

}  // namespace weft::python
