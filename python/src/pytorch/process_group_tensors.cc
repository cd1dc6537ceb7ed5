// SPDX-License-Identifier: Apache-2.0
#include "pytorch/process_group_tensors.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>

#include "pytorch/process_group_errors.h"
#include "pytorch/tensors.h"

namespace weft::python {
namespace {

/// How elements of any type are moved: what of weft's, and how many of them for each.
struct Moved {
  DType type;
  std::int64_t each;
};

Moved moved(const char* call, const at::Tensor& tensor) {
  if (const std::optional<DType> known = dtype_of(tensor.scalar_type())) return {*known, 1};
  switch (tensor.element_size()) {
    case 1:
      return {DType::kUInt8, 1};
    case 2:
      return {DType::kUInt16, 1};
    case 4:
      return {DType::kUInt32, 1};
    case 8:
      return {DType::kUInt64, 1};
    case 16:
      return {DType::kUInt64, 2};
    default:
      refuse_call(call,
                  c10::str("the tensor has dtype ", tensor.scalar_type(), ", whose elements have ",
                           tensor.element_size(), " bytes; send it as another type"));
  }
}

// Of tensors that may require gradients, on threads that may record them.
void copy_elements(const at::Tensor& to, const at::Tensor& from) {
  const at::AutoDispatchBelowADInplaceOrView without_autograd;
  to.copy_(from);
}

void check_place(const char* call, const at::Tensor& tensor) {
  if (!tensor.device().is_cpu() || tensor.layout() != at::kStrided)
    refuse_call(call, c10::str("a tensor is ", tensor.layout(), " on ", tensor.device(),
                               " but must be strided on cpu"));
}

bool lies_dense(const at::Tensor& tensor) {
  return tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg();
}

at::Tensor dense(const at::Tensor& tensor) {
  if (lies_dense(tensor)) return tensor;
  const at::AutoDispatchBelowADInplaceOrView without_autograd;
  return tensor.resolve_conj().resolve_neg().contiguous();
}

ReduceOp named(const char* call, c10d::ReduceOp::RedOpType op) {
  switch (op) {
    case c10d::ReduceOp::SUM:
    case c10d::ReduceOp::PREMUL_SUM:
      return ReduceOp::kSum;
    case c10d::ReduceOp::AVG:
      return ReduceOp::kAvg;
    case c10d::ReduceOp::PRODUCT:
      return ReduceOp::kProd;
    case c10d::ReduceOp::MIN:
      return ReduceOp::kMin;
    case c10d::ReduceOp::MAX:
      return ReduceOp::kMax;
    case c10d::ReduceOp::BAND:
      return ReduceOp::kBand;
    case c10d::ReduceOp::BOR:
      return ReduceOp::kBor;
    case c10d::ReduceOp::BXOR:
      return ReduceOp::kBxor;
    default:
      refuse_call(call, c10::str("the reduction has number ", static_cast<int>(op),
                                 ", which is none of torch.distributed.ReduceOp"));
  }
}

// On 0 and 1, what is 0 or 1 again.
ReduceOp logical(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kBor:
      return ReduceOp::kMax;
    case ReduceOp::kProd:
    case ReduceOp::kBand:
      return ReduceOp::kMin;
    default:
      return op;
  }
}

}  // namespace

void refuse_call(const char* call, const std::string& what) {
  throw StatusError(Status(StatusCode::kInvalidArgument, std::string(call) + ": " + what + "."));
}

bool overlap(const Memory& a, const Memory& b) {
  return a.bytes > 0 && b.bytes > 0 && a.data < b.data + b.bytes && b.data < a.data + a.bytes;
}

const at::Tensor& only(const char* call, const std::vector<at::Tensor>& tensors) {
  if (tensors.size() != 1)
    refuse_call(call, c10::str("a list has ", tensors.size(), " tensors but must have one"));
  return tensors[0];
}

const std::vector<at::Tensor>& only(const char* call,
                                    const std::vector<std::vector<at::Tensor>>& lists) {
  if (lists.size() != 1)
    refuse_call(call, c10::str("there are ", lists.size(), " lists of tensors but must be one"));
  return lists[0];
}

Dense::Dense(const char* call, const at::Tensor& tensor) : given_(tensor) {
  check_place(call, tensor);
  const Moved as = moved(call, tensor);
  dense_ = dense(tensor);
  type_ = as.type;
  count_ = dense_.numel() * as.each;
}

Memory Dense::memory() const {
  return {static_cast<const std::byte*>(data()), static_cast<std::int64_t>(dense_.nbytes())};
}

void Dense::write_back() const {
  if (!dense_.is_same(given_)) copy_elements(given_, dense_);
}

void check_parts(const char* call, const at::Tensor& small, const at::Tensor& large, int ranks) {
  if (small.scalar_type() != large.scalar_type())
    refuse_call(call, c10::str("input and output have dtypes ", small.scalar_type(), " and ",
                               large.scalar_type(), " but must have one"));
  if (large.numel() != small.numel() * ranks)
    refuse_call(call, c10::str("one tensor has ", large.numel(), " elements but must have ", ranks,
                               " (ranks) x ", small.numel(), ", those of the other"));
}

ReduceOp operation(const char* call, at::ScalarType type, const c10d::ReduceOp& op) {
  const ReduceOp known = named(call, op.op_);
  if (type == at::kBool) return logical(known);
  const bool sums = known == ReduceOp::kSum || known == ReduceOp::kAvg;
  if (at::isComplexType(type) ? !sums : !dtype_of(type))
    refuse_call(call, c10::str("dtype is ", type, ", which has no ", to_string(known),
                               "; convert it to another type"));
  return known;
}

at::Tensor as_numbers(const at::Tensor& tensor) {
  const at::AutoDispatchBelowADInplaceOrView without_autograd;
  if (tensor.is_complex()) return at::view_as_real(tensor);
  return tensor.scalar_type() == at::kBool ? tensor.view(at::kByte) : tensor;
}

at::Tensor to_reduce(const char* call, const at::Tensor& input, const c10d::ReduceOp& op) {
  if (op.op_ != c10d::ReduceOp::PREMUL_SUM) return as_numbers(input);
  const auto* factor = dynamic_cast<const c10d::PreMulSumSupplement*>(op.supplement_.get());
  if (!factor) refuse_call(call, "the reduction premul_sum has no factor");
  const at::AutoDispatchBelowADInplaceOrView without_autograd;
  const at::Tensor product = factor->tensor_factor.defined()
                                 ? input.mul(factor->tensor_factor.to(input.scalar_type()))
                                 : input.mul(factor->double_factor);
  return as_numbers(product.to(input.scalar_type()));
}

Parts::Parts(const char* call, std::vector<at::Tensor> tensors, Use use)
    : tensors_(std::move(tensors)), use_(use), offsets_(tensors_.size()) {
  std::int64_t each = 1;
  for (const at::Tensor& tensor : tensors_) {
    check_place(call, tensor);
    if (tensor.scalar_type() != tensors_[0].scalar_type())
      refuse_call(call, c10::str("a list has tensors of dtypes ", tensors_[0].scalar_type(),
                                 " and ", tensor.scalar_type(), " but must have one"));
    const Moved as = moved(call, tensor);
    type_ = as.type;
    each = as.each;
    counts_.push_back(tensor.numel() * each);
  }
  if (!use_in_place(bytes_of(type_, 1))) move_apart();
}

bool Parts::use_in_place(std::int64_t unit) {
  const auto address = [&](std::size_t i) {
    return static_cast<std::byte*>(tensors_[i].data_ptr());
  };
  std::byte* end = nullptr;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (!lies_dense(tensors_[i])) return false;
    if (counts_[i] == 0) continue;
    data_ = data_ ? std::min(data_, address(i)) : address(i);
    end = std::max(end, address(i) + counts_[i] * unit);
  }
  bytes_ = end - data_;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::int64_t distance = counts_[i] > 0 ? address(i) - data_ : 0;
    if (distance % unit != 0) return false;
    offsets_[i] = distance / unit;
  }
  return true;
}

void Parts::move_apart() {
  if (apart_.defined()) return;
  std::int64_t elements = 0;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    offsets_[i] = elements;
    elements += counts_[i];
  }
  bytes_ = bytes_of(type_, elements);
  apart_ = at::empty({bytes_}, at::kByte);
  data_ = static_cast<std::byte*>(apart_.data_ptr());
  if (use_ == Use::kRead)
    for (std::size_t i = 0; i < tensors_.size(); ++i) copy_elements(slice(i), tensors_[i]);
}

at::Tensor Parts::slice(std::size_t i) const {
  const at::AutoDispatchBelowADInplaceOrView without_autograd;
  return apart_.narrow(0, bytes_of(type_, offsets_[i]), bytes_of(type_, counts_[i]))
      .view(tensors_[i].scalar_type())
      .view(tensors_[i].sizes());
}

void Parts::write_back() const {
  if (!apart_.defined() || use_ == Use::kRead) return;
  for (std::size_t i = 0; i < tensors_.size(); ++i) copy_elements(tensors_[i], slice(i));
}

}  // namespace weft::python
