// SPDX-License-Identifier: Apache-2.0
#include "aclnn_collective.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

namespace weft::cann {
namespace {

using ops::Rule;
using ops::Scenario;

constexpr std::size_t kGroupBytes = 128;  // with the terminating zero
constexpr std::int64_t kStopOnFailure = 1;
constexpr std::int64_t kMostOfIntegerWeight = 65535;

// CANN's "transposed": the view (k, n) of a dense (n, k).
bool transposed(const ConstTensorRef& x2) {
  return x2.stride(0) == 1 && x2.stride(1) == x2.dim(0) && x2.elements() != 1;
}

ConstTensorRef retyped(const ConstTensorRef& t, DType dtype) {
  if (t.format() == Format::kFractalNz || !t.given()) return t;
  return ConstTensorRef(t.data(), dtype, t.dims(), t.strides());
}

const char* dtypes_of(Scenario scenario) {
  switch (scenario) {
    case Scenario::kFloat:
      return "float16 for both or bfloat16 for both";
    case Scenario::kQuant:
      return "int8 for both";
    default:
      return "float16 or bfloat16 for x1 and int8 or int4 for x2";
  }
}

}  // namespace

CollectiveCall::CollectiveCall(const Family& of, const Common& with) : family(of), common(with) {
  with.results.check(findings);
  findings.require(with.reduce_op, ACLNN_ERR_PARAM_NULLPTR, "reduceOp is null; pass \"sum\"");
  findings.require(with.group && *with.group, ACLNN_ERR_PARAM_NULLPTR,
                   "group is null or empty; pass what HcclGetCommName gave");
  if (!with.group) return;
  group_ = {with.group, strnlen(with.group, kGroupBytes)};
  const std::shared_ptr<DeviceContext> current = Runtime::instance().current();
  if (current) communicator_ = Communicators::instance().find(group_, current->device);
}

TensorRef CollectiveCall::required(const char* name, const aclTensor* handle) {
  findings.require(handle, ACLNN_ERR_PARAM_NULLPTR, "{} is null", name);
  return optional(name, handle);
}

TensorRef CollectiveCall::optional(const char* name, const aclTensor* handle) {
  return handle ? view(name, handle, false) : TensorRef();
}

TensorRef CollectiveCall::view(const char* name, const aclTensor* handle, bool keep_fractal_nz) {
  const std::shared_ptr<Tensor> found = look_up(findings, name, handle);
  if (!found) return {};
  const Result<DType> dtype = to_dtype(name, found->dtype);
  const bool other_format = found->fractal_nz() && !keep_fractal_nz;
  Tensor replaced;
  if (!dtype.ok() || other_format) replaced = *found;
  if (!dtype.ok()) {
    findings.add(cann_code(Rule::kDtype, family.entry), "{}", dtype.status().message());
    replaced.dtype = ACL_BOOL;  // of no operand
  }
  if (other_format) {
    // A plain matmul looks at the format of the view first, which aclnnTransMatmulWeight leaves.
    const bool seen_early = number_of(found->format) == ACL_FORMAT_FRACTAL_NZ;
    findings.add(seen_early ? cann_code(Rule::kFormat, family.entry) : ACLNN_ERR_INNER_TILING_ERROR,
                 "{} is FRACTAL_NZ, which {} does not take here; pass ACL_FORMAT_ND", name,
                 common.op);
    replaced.storage_format = ACL_FORMAT_ND;
  }
  const Result<TensorRef> view =
      to_tensor_ref(name, dtype.ok() && !other_format ? *found : replaced);
  if (view.ok()) return *view;
  findings.add(ACLNN_ERR_PARAM_INVALID, "{}", view.status().message());
  return {};
}

// int8 with one scale per column.
bool CollectiveCall::takes_fractal_nz(const Tensor& x2, const ConstTensorRef& scale) const {
  if (!family.takes_fractal_nz || number_of(x2.dtype) != ACL_INT8) return false;
  return family.scenario == Scenario::kQuant ||
         (x2.rank() == 2 && ops::is_per_channel(scale, x2.dims[1]));
}

TensorRef CollectiveCall::weight(const aclTensor* handle, const ConstTensorRef& scale) {
  findings.require(handle, ACLNN_ERR_PARAM_NULLPTR, "x2 is null");
  if (!handle) return {};
  const std::shared_ptr<Tensor> found = find_tensor(handle);
  return view("x2", handle, found && found->fractal_nz() && takes_fractal_nz(*found, scale));
}

void CollectiveCall::check_scenario(ConstTensorRef& x1, ConstTensorRef& x2) {
  if (!x1.given() || !x2.given()) return;
  if (ops::scenario_of(x1.dtype(), x2.dtype()) == family.scenario) return;
  findings.add(cann_code(Rule::kDtype, family.entry), "x1 is {} and x2 is {}, but {} takes {}",
               to_string(x1.dtype()), to_string(x2.dtype()), common.op, dtypes_of(family.scenario));
  x1 = retyped(x1, family.scenario == Scenario::kQuant ? DType::kInt8 : DType::kFloat16);
  x2 = retyped(x2, family.scenario == Scenario::kFloat ? DType::kFloat16 : DType::kInt8);
}

ConstTensorRef CollectiveCall::rows(const ConstTensorRef& tensor) {
  if (!tensor.given() || tensor.rank() == 0) return tensor;
  const int last = tensor.rank() - 1;
  if (tensor.stride(last) == 1 || tensor.dim(last) == 1 || ops::is_empty(tensor) || !tensor.data())
    return tensor;
  scattered_ = tensor;
  return ConstTensorRef(nullptr, tensor.dtype(), tensor.dims());
}

void CollectiveCall::check_extents(const ConstTensorRef& x2) {
  if (family.scenario == Scenario::kFloat || x2.rank() != 2) return;
  constexpr const char* kText =
      "x2 is ({}, {}), but {} must be at most 65535; split it among more ranks or calls";
  if (family.scenario == Scenario::kQuant) {
    // What counts is the last axis of the storage.
    const bool swapped = transposed(x2);
    findings.require(x2.dim(swapped ? 0 : 1) <= kMostOfIntegerWeight, ACLNN_ERR_INNER_TILING_ERROR,
                     kText, x2.dim(0), x2.dim(1),
                     swapped ? "k" : "n of an x2 that is not transposed");
    return;
  }
  findings.require(x2.dim(0) <= kMostOfIntegerWeight && x2.dim(1) <= kMostOfIntegerWeight,
                   ACLNN_ERR_INNER_TILING_ERROR, kText, x2.dim(0), x2.dim(1), "each");
}

void CollectiveCall::check_stream_mode() {
  findings.require(common.stream_mode == kStopOnFailure, ACLNN_ERR_PARAM_INVALID,
                   "streamMode is {} but must be 1 (stop on failure)", common.stream_mode);
}

void CollectiveCall::check_attributes() {
  check_stream_mode();
  findings.require(group_.size() < kGroupBytes, ACLNN_ERR_PARAM_INVALID,
                   "group has more than {} characters; pass what HcclGetCommName gave",
                   kGroupBytes - 1);
  findings.require(std::strcmp(common.reduce_op, "sum") == 0, family.reduce_op_code,
                   "reduceOp is \"{}\" but must be \"sum\"", common.reduce_op);
  findings.require(common.comm_turn == 0, ACLNN_ERR_INNER_TILING_ERROR,
                   "commTurn is {} but must be 0", common.comm_turn);
  findings.require(
      communicator_ != nullptr, ACLNN_ERR_INNER_TILING_ERROR,
      "the current device is in no communicator \"{}\"; pass what HcclGetCommName gave "
      "for it, and make its device current in this thread",
      group_);
  if (communicator_)
    findings.require(std::ranges::find(family.ranks, ranks()) != family.ranks.end(),
                     ACLNN_ERR_INNER_TILING_ERROR,
                     "communicator \"{}\" has {} ranks, but {} takes one of {}", group_, ranks(),
                     common.op, fmt::join(family.ranks, ", "));
}

}  // namespace weft::cann
