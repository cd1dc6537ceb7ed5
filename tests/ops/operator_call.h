// SPDX-License-Identifier: Apache-2.0
// Planning and running the operator of a case without knowing which one it is.
#pragma once

#include <memory>
#include <string>

#include "operator_case.h"
#include "weft/context.h"
#include "weft/status.h"

namespace weft::testing {

class PlannedCall {
 public:
  virtual ~PlannedCall() = default;
  /// Data of the planned layout. A packed weight stays the one of the plan.
  virtual Status run(const RankData& data) = 0;
  virtual std::string describe() const = 0;
};

Result<std::unique_ptr<PlannedCall>> plan(Context& context, Group& group, const OperatorCase& c,
                                          const RankData& data);
/// The operator's function that plans and runs.
Status call(Context& context, Group& group, const OperatorCase& c, const RankData& data);

}  // namespace weft::testing
