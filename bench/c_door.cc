// SPDX-License-Identifier: Apache-2.0
#include "c_door.h"

#include "aclnnop/aclnn_matmul_all_reduce.h"
#include "operators/operator.h"
#include "require_code.h"
#include "team.h"

namespace weft::bench {
namespace {

constexpr int kCalls = 200;

template <typename Call>
double seconds_of_one(const Call& call) {
  call();
  const std::int64_t begin = trace_now_ns();
  for (int i = 0; i < kCalls; ++i) call();
  return static_cast<double>(trace_now_ns() - begin) * 1e-9 / kCalls;
}

}  // namespace

CDoor::CDoor(const tools::Case& c) : operands_(require(tools::RandomSource(c).make(0, 1))) {
  require(operands_.make_outputs(c.op().outputs(operands_, 1, tools::OutputForm::kSeparate)));
  args_ = operands_.args<MatmulAllReduceArgs>();
  require_code(aclInit(nullptr));
  require_code(aclrtSetDevice(0));
  require_code(aclrtCreateStream(&stream_));
  auto group = std::move(require(Group::local(1))[0]);
  group_ = group.name();
  handle_ = cann::Communicators::instance().add(std::make_shared<cann::Communicator>(
      cann::Runtime::instance().current()->device, std::move(group),
      require(Context::create({.threads = 1}))));
  tensors_ = {describe(args_.x1), describe(args_.x2), describe(args_.output)};
}

CDoor::~CDoor() {
  for (aclTensor* tensor : tensors_) aclDestroyTensor(tensor);
  cann::Communicators::instance().take(handle_);
  aclFinalize();
}

aclTensor* CDoor::describe(const ConstTensorRef& tensor) {
  const auto dtype = static_cast<aclDataType>(info(tensor.dtype()).cann);
  const auto axes = static_cast<uint64_t>(tensor.rank());
  return aclCreateTensor(tensor.dims().data(), axes, dtype, nullptr, 0, ACL_FORMAT_ND,
                         tensor.dims().data(), axes, const_cast<void*>(tensor.data()));
}

double CDoor::native() {
  const auto communicator = cann::Communicators::instance().find(handle_);
  return seconds_of_one(
      [&] { require(matmul_allreduce(communicator->context(), communicator->group(), args_)); });
}

double CDoor::run_again() {
  const auto communicator = cann::Communicators::instance().find(handle_);
  auto plan = require(MatmulAllReduce::plan(communicator->context(), communicator->group(), args_));
  return seconds_of_one([&] { require(plan.run(args_)); });
}

double CDoor::both_phases() {
  return seconds_of_one([&] {
    uint64_t size = 0;
    aclOpExecutor* executor = nullptr;
    require_code(aclnnMatmulAllReduceGetWorkspaceSize(tensors_[0], tensors_[1], nullptr,
                                                      group_.c_str(), "sum", 0, 1, tensors_[2],
                                                      &size, &executor));
    workspace_.resize(size);
    require_code(aclnnMatmulAllReduce(workspace_.data(), size, executor, stream_));
    require_code(aclrtSynchronizeStream(stream_));
  });
}

double CDoor::hand_off() {
  return seconds_of_one([&] {
    require_code(aclrtLaunchHostFunc(
        stream_, [](void*) {}, nullptr));
    require_code(aclrtSynchronizeStream(stream_));
  });
}

}  // namespace weft::bench
