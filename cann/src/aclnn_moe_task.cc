// SPDX-License-Identifier: Apache-2.0
#include "aclnn_moe_task.h"

#include <fmt/core.h>

#include "ops/contract.h"
#include "ops/dense.h"

namespace weft::cann {

void Gathered::rows(ConstTensorRef& operand) {
  if (!operand.given() || operand.rank() == 0) return;
  const int last = operand.rank() - 1;
  if (operand.stride(last) != 1 && operand.dim(last) > 1) replace(operand);
}

void Gathered::dense(ConstTensorRef& operand) {
  if (operand.given() && !operand.dense()) replace(operand);
}

void Gathered::replace(ConstTensorRef& operand) {
  if (operand.data() && !ops::is_empty(operand)) copies_.push_back({&operand, operand});
  operand = ConstTensorRef(nullptr, operand.dtype(), operand.dims());
}

Status Gathered::allocate() {
  for (Copy& copy : copies_) {
    const ConstTensorRef& from = copy.from;
    WEFT_ASSIGN_OR_RETURN(
        copy.memory,
        Buffer::allocate(from.elements() * info(from.dtype()).bits / 8, "gathered operands"));
    *copy.operand = copy.operand->with_data(copy.memory.data());
  }
  return {};
}

void Gathered::copy() const {
  for (const Copy& copy : copies_) ops::copy_dense(copy.from, copy.memory.data());
}

Status MoeTask::run() {
  WEFT_RETURN_IF_ERROR(check_elastic_info("elasticInfo", elastic_info));
  gathered.copy();
  return call();
}

Status check_elastic_info(const char* name, const ConstTensorRef& info) {
  if (!info.given()) return {};
  const int scaled = *static_cast<const std::int32_t*>(info.data());
  if (scaled == 0) return {};
  return Status(StatusCode::kUnimplemented,
                fmt::format("{} begins with {} but must begin with 0: a group that has lost ranks "
                            "can't go on; form a new one of those that are left",
                            name, scaled));
}

}  // namespace weft::cann
