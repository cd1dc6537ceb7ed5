// SPDX-License-Identifier: Apache-2.0
#include "core/array.h"

#include <cstring>
#include <optional>
#include <utility>

#include "core/dlpack_exchange.h"

namespace weft::python {
namespace {

std::optional<DType> float_of(std::size_t bytes) {
  if (bytes == 2) return DType::kFloat16;
  if (bytes == 4) return DType::kFloat32;
  if (bytes == 8) return DType::kFloat64;
  return std::nullopt;
}

std::optional<DType> integer_of(bool is_signed, std::size_t bytes) {
  switch (bytes) {
    case 1:
      return is_signed ? DType::kInt8 : DType::kUInt8;
    case 2:
      return is_signed ? DType::kInt16 : DType::kUInt16;
    case 4:
      return is_signed ? DType::kInt32 : DType::kUInt32;
    case 8:
      return is_signed ? DType::kInt64 : DType::kUInt64;
    default:
      return std::nullopt;
  }
}

// Of DLPack's (code, bits).
std::optional<DType> dtype_of(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  if (type.lanes != 1 || type.bits % 8 != 0) return std::nullopt;
  const std::size_t bytes = type.bits / 8;
  switch (static_cast<Code>(type.code)) {
    case Code::Float:
      return float_of(bytes);
    case Code::Bfloat:
      return bytes == 2 ? std::optional(DType::kBFloat16) : std::nullopt;
    case Code::Int:
    case Code::UInt:
      return integer_of(static_cast<Code>(type.code) == Code::Int, bytes);
    case Code::Bool:
      return bytes == 1 ? std::optional(DType::kBool) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// Of a format of the buffer protocol: one letter of the module struct, in this machine's order.
std::optional<DType> dtype_of(const Py_buffer& buffer) {
  const char* format = buffer.format ? buffer.format : "B";
  if (std::strchr("@=<", *format) && *format) ++format;
  if (format[0] == '\0' || format[1] != '\0') return std::nullopt;
  const auto bytes = static_cast<std::size_t>(buffer.itemsize);
  if (*format == '?') return DType::kBool;
  if (std::strchr("efd", *format)) return float_of(bytes);
  if (std::strchr("bhilqn", *format)) return integer_of(true, bytes);
  if (std::strchr("BHILQN", *format)) return integer_of(false, bytes);
  return std::nullopt;
}

// The class of ml_dtypes' bfloat16, which the buffer protocol cannot name; null until seen.
PyTypeObject* bfloat16_class = nullptr;

bool is_bfloat16(nb::handle object) {
  const nb::object dtype = nb::getattr(object, "dtype", nb::none());
  if (bfloat16_class) return Py_TYPE(dtype.ptr()) == bfloat16_class;
  if (std::strcmp(nb::str(dtype).c_str(), "bfloat16") != 0) return false;
  bfloat16_class = Py_TYPE(dtype.inc_ref().ptr());  // kept
  return true;
}

// The same memory as uint16.
nb::object bits_of(nb::handle object) {
  static const nb::handle uint16 =
      nb::object(nb::module_::import_("numpy").attr("uint16")).release();
  return object.attr("view")(uint16);
}

std::string text(nb::handle object) { return nb::str(object).c_str(); }

}  // namespace

void refuse(const char* op, const char* name, const std::string& what) {
  throw nb::value_error((std::string(op) + ": " + name + " " + what).c_str());
}

void refuse_type(const char* op, const char* name, const char* wanted, nb::handle object) {
  throw nb::type_error((std::string(op) + ": " + name + " must be " + wanted + ", but is a " +
                        nb::type_name(object.type()).c_str())
                           .c_str());
}

ArrayReader::ArrayReader(const char* op, std::size_t most)
    : op_(op), buffers_(new Py_buffer[most]) {}

ArrayReader::~ArrayReader() {
  for (std::size_t i = 0; i < held_; ++i) PyBuffer_Release(&buffers_[i]);
}

void ArrayReader::refuse_dtype(const char* name, nb::handle object) const {
  refuse(op_, name,
         "has dtype " + text(nb::getattr(object, "dtype", nb::str("unknown"))) +
             ", which weft does not know. Convert it.");
}

void ArrayReader::set_shape(const char* name, nb::handle object, int rank, Array& array) const {
  if (rank > kMaxDims)
    refuse(op_, name,
           "has shape " + text(nb::getattr(object, "shape", nb::none())) + "; at most " +
               std::to_string(kMaxDims) + " axes");
  array.rank = rank;
}

bool ArrayReader::read_buffer(const char* name, nb::handle object, Array& array) {
  if (!PyObject_CheckBuffer(object.ptr())) return false;
  Py_buffer& buffer = buffers_[held_];
  const bool known = bfloat16_class && is_bfloat16(object);
  bool bfloat16 = known;
  if (known || PyObject_GetBuffer(object.ptr(), &buffer, PyBUF_RECORDS_RO) != 0) {
    if (!known) PyErr_Clear();
    if (!known && !is_bfloat16(object)) refuse_dtype(name, object);
    bfloat16 = true;
    if (PyObject_GetBuffer(bits_of(object).ptr(), &buffer, PyBUF_RECORDS_RO) != 0)
      throw nb::python_error();
  }
  ++held_;
  const std::optional<DType> dtype = bfloat16 ? DType::kBFloat16 : dtype_of(buffer);
  if (!dtype) refuse_dtype(name, object);
  set_shape(name, object, buffer.ndim, array);
  array.data = buffer.buf;
  array.dtype = *dtype;
  array.read_only = buffer.readonly != 0;
  for (int i = 0; i < buffer.ndim; ++i) {
    if (buffer.strides[i] % buffer.itemsize != 0)
      refuse(op_, name, "has strides that are no whole elements. Copy it.");
    array.dims[i] = buffer.shape[i];
    array.strides[i] = buffer.strides[i] / buffer.itemsize;
  }
  return true;
}

bool ArrayReader::read_exchanged(const char* name, nb::handle object, Array& array) {
  const DLPackExchangeApi* api = exchange_api(object.type());
  if (!api) return false;
  nb::dlpack::dltensor tensor;
  if (api->tensor_from_object(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    refuse(op_, name,
           "is not in memory: device " + text(nb::getattr(object, "device", nb::none())) +
               ", layout " + text(nb::getattr(object, "layout", nb::none())) +
               ". weft takes strided tensors of CPUs.");
  }
  if (tensor.device.device_type != nb::device::cpu::value)
    refuse(op_, name, "is on device " + text(object.attr("device")) + "; weft takes CPU tensors.");
  if (needs_gradient(object))
    refuse(op_, name,
           "requires a gradient, which this call does not give. Use torch.ops.weft, "
           "torch.no_grad() or detach().");
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  if (!dtype) refuse_dtype(name, object);
  set_shape(name, object, tensor.ndim, array);
  array.data = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  array.dtype = *dtype;
  for (int i = 0; i < tensor.ndim; ++i) {
    array.dims[i] = tensor.shape[i];
    array.strides[i] = tensor.strides[i];
  }
  return true;
}

void ArrayReader::read_dlpack(const char* name, nb::handle object, Array& array) {
  if (!nb::hasattr(object, "__dlpack__"))
    refuse_type(op_, name, "an array of numpy or of anything with DLPack", object);
  nb::ndarray<nb::ro> tensor;
  if (!nb::try_cast(object, tensor, false))
    refuse(op_, name, "does not give its memory through DLPack. Copy it to a numpy array.");
  if (tensor.device_type() != nb::device::cpu::value)
    refuse(op_, name, "is not in the memory of CPUs. Copy it there.");
  const std::optional<DType> dtype = dtype_of(tensor.dtype());
  if (!dtype) refuse_dtype(name, object);
  set_shape(name, object, static_cast<int>(tensor.ndim()), array);
  nb::ndarray<> writable;
  array.read_only = !nb::try_cast(object, writable, false);
  array.data = const_cast<void*>(static_cast<const void*>(tensor.data()));
  array.dtype = *dtype;
  for (std::size_t i = 0; i < tensor.ndim(); ++i) {
    array.dims[i] = static_cast<std::int64_t>(tensor.shape(i));
    array.strides[i] = tensor.stride(i);
  }
  tensors_.push_back(std::move(tensor));
}

Array ArrayReader::read(const char* name, nb::handle object) {
  Array array;
  if (!read_buffer(name, object, array) && !read_exchanged(name, object, array))
    read_dlpack(name, object, array);
  return array;
}

}  // namespace weft::python
