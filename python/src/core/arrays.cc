// SPDX-License-Identifier: Apache-2.0
#include "core/arrays.h"

#include <array>
#include <string>

#include "runtime/errors.h"

namespace weft::python {
namespace {

// The type of whole bytes that DLPack's (code, bits) means.
std::optional<DType> dtype_of(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  if (type.lanes != 1) return std::nullopt;
  const auto code = static_cast<Code>(type.code);
  const auto is = [&](Code wanted, int bits) { return code == wanted && type.bits == bits; };
  if (is(Code::Float, 16)) return DType::kFloat16;
  if (is(Code::Float, 32)) return DType::kFloat32;
  if (is(Code::Float, 64)) return DType::kFloat64;
  if (is(Code::Bfloat, 16)) return DType::kBFloat16;
  if (is(Code::Int, 8)) return DType::kInt8;
  if (is(Code::Int, 16)) return DType::kInt16;
  if (is(Code::Int, 32)) return DType::kInt32;
  if (is(Code::Int, 64)) return DType::kInt64;
  if (is(Code::UInt, 8)) return DType::kUInt8;
  if (is(Code::UInt, 16)) return DType::kUInt16;
  if (is(Code::UInt, 32)) return DType::kUInt32;
  if (is(Code::UInt, 64)) return DType::kUInt64;
  if (is(Code::Bool, 8)) return DType::kBool;
  return std::nullopt;
}

template <typename Ref, typename Array>
Ref view(const char* name, const Array& array) {
  const std::optional<DType> dtype = dtype_of(array.dtype());
  if (!dtype)
    throw nb::value_error((std::string(name) + " has a dtype that weft does not know").c_str());
  if (array.ndim() > static_cast<std::size_t>(kMaxDims))
    throw nb::value_error((std::string(name) + " has " + std::to_string(array.ndim()) +
                           " axes; at most " + std::to_string(kMaxDims))
                              .c_str());
  std::array<std::int64_t, kMaxDims> dims{}, strides{};
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    dims[i] = static_cast<std::int64_t>(array.shape(i));
    strides[i] = array.stride(i);
  }
  return {array.data(), *dtype, {dims.data(), array.ndim()}, {strides.data(), array.ndim()}};
}

}  // namespace

ConstTensorRef input(const char* name, const Input& array) {
  return array ? view<ConstTensorRef>(name, *array) : ConstTensorRef();
}

TensorRef output(const char* name, const Output& array) {
  return array ? view<TensorRef>(name, *array) : TensorRef();
}

void raise_if_error(const Status& status) {
  if (PyErr_Occurred()) throw nb::python_error();
  if (status.ok()) return;
  set_python_error(status);
  throw nb::python_error();
}

}  // namespace weft::python
