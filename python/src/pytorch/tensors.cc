// SPDX-License-Identifier: Apache-2.0
#include "pytorch/tensors.h"

#include <ATen/Parallel.h>
#include <torch/csrc/Exceptions.h>

#include <array>
#include <mutex>

#include "runtime/errors.h"

namespace weft::python {

std::optional<DType> dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return DType::kFloat32;
    case at::kHalf:
      return DType::kFloat16;
    case at::kBFloat16:
      return DType::kBFloat16;
    case at::kDouble:
      return DType::kFloat64;
    case at::kChar:
      return DType::kInt8;
    case at::kByte:
      return DType::kUInt8;
    case at::kShort:
      return DType::kInt16;
    case at::kInt:
      return DType::kInt32;
    case at::kLong:
      return DType::kInt64;
    case at::kUInt16:
      return DType::kUInt16;
    case at::kUInt32:
      return DType::kUInt32;
    case at::kUInt64:
      return DType::kUInt64;
    case at::kBool:
      return DType::kBool;
    default:
      return std::nullopt;
  }
}

namespace {

template <typename Ref>
Ref view(const char* name, const at::Tensor& tensor) {
  if (!tensor.device().is_cpu() || tensor.layout() != at::kStrided)
    refuse_operand(name, "must be a strided CPU tensor, but is on " + tensor.device().str());
  const std::optional<DType> dtype = dtype_of(tensor.scalar_type());
  if (!dtype) refuse_operand(name, "has dtype " + std::string(at::toString(tensor.scalar_type())));
  if (tensor.dim() > kMaxDims)
    refuse_operand(name, "has " + std::to_string(tensor.dim()) + " axes; at most 8");
  return {tensor.data_ptr(),
          *dtype,
          {tensor.sizes().data(), tensor.sizes().size()},
          {tensor.strides().data(), tensor.strides().size()}};
}

// As many threads as PyTorch uses.
std::shared_ptr<SharedContext> torch_context() {
  static std::mutex mutex;
  static std::shared_ptr<SharedContext> made;  // guarded by mutex
  const std::lock_guard lock(mutex);
  const int threads = at::get_num_threads();
  if (!made || made->context.threads() != threads) {
    auto context = SharedContext::create({.threads = threads});
    raise_if_error(context.status());
    made = *context;
  }
  return made;
}

Result<std::shared_ptr<Communicator>> make_alone(int threads) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Group> groups, Group::local(1));
  WEFT_ASSIGN_OR_RETURN(Context context, Context::create({.threads = threads}));
  return Communicator::create(std::move(context), std::move(groups.front()));
}

// The communicator of kSelf, with as many threads as PyTorch uses.
std::shared_ptr<Communicator> alone() {
  static std::mutex mutex;
  static std::shared_ptr<Communicator> made;  // guarded by mutex
  const std::lock_guard lock(mutex);
  const int threads = at::get_num_threads();
  if (!made || made->threads() != threads) {
    auto communicator = make_alone(threads);
    raise_if_error(communicator.status());
    made = *communicator;
  }
  return made;
}

// The axis along which int4 lie two in a byte; -1: there is none.
int packed_axis(const at::Tensor& weight) {
  const auto axes = static_cast<int>(weight.dim());
  for (int axis = axes - 1; axis >= 0 && axis >= axes - 2; --axis)
    if (weight.stride(axis) == 1) return axis;
  return -1;
}

}  // namespace

ConstTensorRef input(const char* name, const at::Tensor& tensor) {
  return view<ConstTensorRef>(name, tensor);
}

ConstTensorRef input(const char* name, const std::optional<at::Tensor>& tensor) {
  return tensor ? input(name, *tensor) : ConstTensorRef();
}

ConstTensorRef weight(const char* name, const at::Tensor& tensor) {
  const ConstTensorRef bytes = input(name, tensor);
  if (bytes.dtype() != DType::kUInt8 || bytes.rank() < 2) return bytes;
  const int axis = packed_axis(tensor);
  if (axis < 0)
    refuse_operand(
        name,
        "is uint8, two int4 in a byte, but neither of its last two axes has stride 1; make "
        "it contiguous");
  std::array<std::int64_t, kMaxDims> dims{}, strides{};
  for (int i = 0; i < bytes.rank(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    dims[at] = bytes.dim(i) * (i == axis ? 2 : 1);
    strides[at] = bytes.stride(i) * (i == axis ? 1 : 2);
  }
  const auto rank = static_cast<std::size_t>(bytes.rank());
  return {bytes.data(), DType::kInt4, {dims.data(), rank}, {strides.data(), rank}};
}

std::int64_t columns(const at::Tensor& weight) {
  if (weight.dim() == 0) return 0;
  const bool in_bytes =
      weight.scalar_type() == at::kByte && packed_axis(weight) == weight.dim() - 1;
  return weight.size(-1) * (in_bytes ? 2 : 1);
}

at::ScalarType result_dtype(const at::Tensor& x, const std::optional<at::Tensor>& dequant_scale) {
  if (x.scalar_type() != at::kChar) return x.scalar_type();
  const bool bfloat16 = dequant_scale && dequant_scale->scalar_type() == at::kBFloat16;
  return bfloat16 ? at::kBFloat16 : at::kHalf;
}

std::vector<std::int64_t> product_shape(const at::Tensor& x, std::int64_t columns) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  if (!shape.empty()) shape.back() = columns;
  return shape;
}

TensorRef output(const at::Tensor& tensor) { return view<TensorRef>("out", tensor); }

void run(const std::function<Status(Context&)>& call) {
  const std::shared_ptr<SharedContext> context = torch_context();
  Status status;
  {
    const std::lock_guard lock(context->turn);
    status = call(context->context);
  }
  raise_if_error(status);  // takes the GIL
}

std::shared_ptr<Communicator> communicator(std::string_view key) {
  std::shared_ptr<Communicator> found = key == kSelf ? alone() : Communicator::find(key);
  if (!found)
    raise_if_error(Status(StatusCode::kInvalidArgument,
                          "group: this process has none called '" + std::string(key) +
                              "'. Pass the key of a weft.Group, or the name of a process group of "
                              "the backend weft."));
  return found;
}

void run(std::string_view group, const Communicator::Call& call) {
  raise_if_error(communicator(group)->run(call));
}

void refuse_operand(const char* name, const std::string& what) {
  raise_if_error(Status(StatusCode::kInvalidArgument, std::string(name) + " " + what));
  std::abort();  // not reached: it has raised
}

void raise_if_error(const Status& status) {
  // What a handler raised went with an error of the call: nothing to look for without one.
  if (status.ok()) return;
  const pybind11::gil_scoped_acquire gil;
  if (!PyErr_Occurred()) set_python_error(status);
  python_error error;
  error.persist();
  throw error;
}

}  // namespace weft::python
