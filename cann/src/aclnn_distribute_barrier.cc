// SPDX-License-Identifier: Apache-2.0
// aclnnDistributeBarrier and its second version; aclnnMoeDistributeBufferReset, of which a barrier
// is all that weft needs.
#include "aclnnop/aclnn_distribute_barrier.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "aclnn_moe_distribute.h"
#include "aclnnop/aclnn_distribute_barrier_v2.h"
#include "aclnnop/aclnn_moe_distribute_buffer_reset.h"

using namespace weft;
using namespace weft::cann;

namespace {

constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR, kInvalid = ACLNN_ERR_PARAM_INVALID;
constexpr std::size_t kNameBytes = 128;  // with the terminating zero

bool fits(const char* name) { return *name && strnlen(name, kNameBytes) < kNameBytes; }
std::int32_t value_of(const ConstTensorRef& t, std::int64_t i = 0) {
  return static_cast<const std::int32_t*>(t.data())[i * t.stride(0)];
}

void check_length(Findings& findings, const char* name, const ConstTensorRef& t, std::int64_t n) {
  findings.require(!t.given() || t.dim(0) == n, kTiling, "{} has {} elements but must have {}",
                   name, t.given() ? t.dim(0) : 0, n);
}

void check_memory(Findings& findings, const char* name, const ConstTensorRef& t) {
  findings.require(!t.given() || t.data(), ACLNN_ERR_PARAM_NULLPTR,
                   "{} has no memory (null pointer)", name);
}

struct Barrier {
  const char* op;
  const aclTensor *x_ref, *time_out, *elastic_info;
  const char* group;
  std::int64_t world_size;
  Results results;
};

/// xRef orders tasks and is not looked into: it may be any description.
void check_x_ref(Findings& findings, const aclTensor* handle) {
  constexpr int kDtypes[] = {ACL_BF16,  ACL_FLOAT16, ACL_FLOAT, ACL_BOOL,   ACL_INT8,   ACL_INT16,
                             ACL_INT32, ACL_INT64,   ACL_UINT8, ACL_UINT16, ACL_UINT32, ACL_UINT64};
  const std::shared_ptr<Tensor> found = look_up(findings, "xRef", handle);
  if (!found) return;
  findings.require(std::ranges::find(kDtypes, number_of(found->dtype)) != std::end(kDtypes),
                   kInvalid,
                   "xRef has aclDataType {} but must be an integer, float, float16, bfloat16 or "
                   "bool",
                   number_of(found->dtype));
  findings.require(found->rank() <= kMaxDims, kTiling, "xRef has {} axes but may have at most {}",
                   found->rank(), kMaxDims);
}

Status wait(Group& group, const ConstTensorRef& time_out, const ConstTensorRef& elastic_info) {
  WEFT_RETURN_IF_ERROR(check_elastic_info("elasticInfo", elastic_info));
  constexpr double kMicrosecond = 1e-6;
  const std::int32_t limit = time_out.given() ? value_of(time_out) : 0;
  return limit > 0 ? group.barrier(limit * kMicrosecond) : group.barrier();
}

aclnnStatus prepare(const Barrier& call) {
  Findings findings;
  findings.require(call.x_ref, ACLNN_ERR_PARAM_NULLPTR, "xRef is null");
  findings.require(call.group, ACLNN_ERR_PARAM_NULLPTR, "group is null");
  call.results.check(findings);
  if (findings.any()) return findings.report();
  check_x_ref(findings, call.x_ref);
  const ConstTensorRef time_out =
      look_at(findings, "timeOut", call.time_out, {DType::kInt32}, 1, 1);
  const ConstTensorRef elastic_info =
      look_at(findings, "elasticInfo", call.elastic_info, {DType::kInt32}, 1, 1);
  if (findings.any()) return findings.report();
  findings.require(fits(call.group), kTiling,
                   "group is empty or has more than {} characters; pass what HcclGetCommName gave",
                   kNameBytes - 1);
  findings.require(call.world_size >= 2 && call.world_size <= 384, kTiling,
                   "worldSize is {} but must be 2 to 384", call.world_size);
  check_length(findings, "timeOut", time_out, 1);
  check_length(findings, "elasticInfo", elastic_info, 4 + 2 * call.world_size);
  if (findings.any()) return findings.report();
  const auto communicator = find_communicator(findings, "group", call.group, kTiling);
  if (communicator)
    findings.require(communicator->ranks() == call.world_size, kTiling,
                     "worldSize is {} but communicator \"{}\" has {} ranks", call.world_size,
                     call.group, communicator->ranks());
  check_memory(findings, "timeOut", time_out);
  check_memory(findings, "elasticInfo", elastic_info);
  if (findings.any()) return findings.report();
  return finish(call.op, call.results, [=](const auto&, Stream& stream) {
    return Communicator::submit(communicator, stream, [=](Context&, Group& group) {
      return wait(group, time_out, elastic_info);
    });
  });
}

aclnnStatus barrier(const Barrier& call) {
  return first_phase(call.op, [&] { return prepare(call); });
}

// --- aclnnMoeDistributeBufferReset ---

struct Reset {
  const char* op;
  const aclTensor* elastic_info;
  const char* group;
  std::int64_t world_size, need_sync;
  Results results;
};

Status wait_for_all(Group& group, const ConstTensorRef& elastic_info) {
  for (int rank = 0; rank < group.ranks(); ++rank)
    if (value_of(elastic_info, rank) != 1)
      return Status(StatusCode::kUnimplemented,
                    fmt::format("buffer reset: elasticInfo is {} for rank {} but must be 1 for "
                                "all: a group that has lost ranks can't go on; form a new one",
                                value_of(elastic_info, rank), rank));
  return group.barrier();
}

aclnnStatus prepare(const Reset& call) {
  Findings findings;
  findings.require(call.elastic_info, ACLNN_ERR_PARAM_NULLPTR, "elasticInfo is null");
  findings.require(call.group, ACLNN_ERR_PARAM_NULLPTR, "groupEp is null");
  call.results.check(findings);
  if (findings.any()) return findings.report();
  findings.require(fits(call.group), kInvalid,
                   "groupEp is empty or has more than {} characters; pass what HcclGetCommName "
                   "gave",
                   kNameBytes - 1);
  const ConstTensorRef elastic_info =
      look_at(findings, "elasticInfo", call.elastic_info, {DType::kInt32}, 1, 1);
  if (findings.any()) return findings.report();
  findings.require(call.world_size >= 16 && call.world_size <= 128 && call.world_size % 16 == 0,
                   kTiling, "epWorldSize is {} but must be 16, 32, … 128", call.world_size);
  findings.require(call.need_sync == 0 || call.need_sync == 1, kTiling,
                   "needSync is {} but must be 0 or 1", call.need_sync);
  check_length(findings, "elasticInfo", elastic_info, call.world_size);
  if (findings.any()) return findings.report();
  const auto communicator = find_communicator(findings, "groupEp", call.group, ACLNN_ERR_INNER);
  if (communicator)
    findings.require(communicator->ranks() == call.world_size, kInvalid,
                     "epWorldSize is {} but communicator \"{}\" has {} ranks", call.world_size,
                     call.group, communicator->ranks());
  check_memory(findings, "elasticInfo", elastic_info);
  if (findings.any()) return findings.report();
  if (call.need_sync == 0) return finish_empty(call.op, call.results);
  return finish(call.op, call.results, [=](const auto&, Stream& stream) {
    return Communicator::submit(communicator, stream, [elastic_info](Context&, Group& group) {
      return wait_for_all(group, elastic_info);
    });
  });
}

}  // namespace

aclnnStatus aclnnDistributeBarrierGetWorkspaceSize(aclTensor* xRef, const char* group,
                                                   int64_t worldSize, uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return barrier({"aclnnDistributeBarrier",
                  xRef,
                  nullptr,
                  nullptr,
                  group,
                  worldSize,
                  {workspaceSize, executor}});
}
WEFT_SECOND_PHASE(aclnnDistributeBarrier)

aclnnStatus aclnnDistributeBarrierV2GetWorkspaceSize(
    const aclTensor* xRef, const aclTensor* timeOutOptional, const aclTensor* elasticInfoOptional,
    const char* group, int64_t worldSize, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return barrier({"aclnnDistributeBarrierV2",
                  xRef,
                  timeOutOptional,
                  elasticInfoOptional,
                  group,
                  worldSize,
                  {workspaceSize, executor}});
}
WEFT_SECOND_PHASE(aclnnDistributeBarrierV2)

aclnnStatus aclnnMoeDistributeBufferResetGetWorkspaceSize(const aclTensor* elasticInfo,
                                                          const char* groupEp, int64_t epWorldSize,
                                                          int64_t needSync, uint64_t* workspaceSize,
                                                          aclOpExecutor** executor) {
  return first_phase("aclnnMoeDistributeBufferReset", [&] {
    return prepare(Reset{"aclnnMoeDistributeBufferReset",
                         elasticInfo,
                         groupEp,
                         epWorldSize,
                         needSync,
                         {workspaceSize, executor}});
  });
}
WEFT_SECOND_PHASE(aclnnMoeDistributeBufferReset)
