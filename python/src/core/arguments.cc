// SPDX-License-Identifier: Apache-2.0
#include "core/arguments.h"

#include <nanobind/stl/vector.h>

#include <array>
#include <string>

#include "core/fractal_nz.h"

namespace weft::python {
namespace {

template <typename Ref>
Ref as_3d(const Ref& tensor) {
  if (!tensor.given() || tensor.rank() != 2) return tensor;
  const std::int64_t rows = tensor.dim(0), columns = tensor.dim(1);
  return {tensor.data(), tensor.dtype(), std::array<std::int64_t, 3>{1, rows, columns},
          std::array<std::int64_t, 3>{rows * tensor.stride(0), tensor.stride(0), tensor.stride(1)}};
}

// Bytes of two int4 as those: the axis whose neighbours share a byte is the one with stride 1, the
// last one if there is a choice.
void halve_bytes(Array& weight) {
  if (weight.dtype != DType::kUInt8 || weight.rank < 2) return;
  const int last = weight.rank - 1;
  const int axis = weight.strides[last] == 1 || weight.strides[last - 1] != 1 ? last : last - 1;
  weight.dtype = DType::kInt4;
  weight.dims[axis] *= 2;
  for (int i = 0; i < weight.rank; ++i)
    if (i != axis) weight.strides[i] *= 2;
}

}  // namespace

Arguments::Arguments(const char* op, const nb::tuple& values)
    : values_(values), reader_(op, values.size()) {}

nb::handle Arguments::next() {
  if (taken_ == values_.size())
    throw nb::type_error((std::string(op()) + ": too few arguments").c_str());
  return values_[taken_++];
}

void Arguments::end() const {
  if (taken_ != values_.size())
    throw nb::type_error((std::string(op()) + ": too many arguments").c_str());
}

void Arguments::input(const char* name, ConstTensorRef& to) {
  const nb::handle value = next();
  if (!value.is_none()) to = reader_.read(name, value).view<ConstTensorRef>();
}

void Arguments::output(const char* name, TensorRef& to) {
  const nb::handle value = next();
  if (value.is_none()) return;
  const Array array = reader_.read(name, value);
  if (array.read_only) refuse(op(), name, "is read-only, but is written to. Pass a copy.");
  to = array.view<TensorRef>();
}

void Arguments::input_3d(const char* name, ConstTensorRef& to) {
  input(name, to);
  to = as_3d(to);
}

void Arguments::output_3d(const char* name, TensorRef& to) {
  output(name, to);
  to = as_3d(to);
}

void Arguments::weight(const char* name, ConstTensorRef& to) {
  const PackedWeight* packed = nullptr;
  weight(name, to, packed);
  if (packed) refuse_type(op(), name, "an array or a weft.FractalNz", values_[taken_ - 1]);
}

void Arguments::weight(const char* name, ConstTensorRef& to, const PackedWeight*& packed) {
  const nb::handle value = next();
  if (value.is_none()) return;
  if (nb::try_cast(value, packed, false)) return;
  if (FractalNz* image = nullptr; nb::try_cast(value, image, false)) {
    to = image->view(reader_.read(name, image->storage), op(), name);
    return;
  }
  Array array = reader_.read(name, value);
  halve_bytes(array);
  to = array.view<ConstTensorRef>();
}

void Arguments::number(const char* name, std::int64_t& to) {
  const nb::handle value = next();
  const nb::object index = nb::steal(PyNumber_Index(value.ptr()));
  if (!index.is_valid()) {
    PyErr_Clear();
    refuse_type(op(), name, "an integer", value);
  }
  to = PyLong_AsLongLong(index.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse(op(), name, "is " + std::string(nb::str(value).c_str()) + ", which has over 64 bits.");
  }
}

void Arguments::number(const char* name, double& to) {
  const nb::handle value = next();
  to = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    refuse_type(op(), name, "a number", value);
  }
}

void Arguments::flag(const char* name, bool& to) {
  const nb::handle value = next();
  const int truth = PyObject_IsTrue(value.ptr());
  if (truth < 0) {
    PyErr_Clear();
    refuse_type(op(), name, "True or False", value);
  }
  to = truth != 0;
}

nb::object Arguments::group(const char* name, Communicator*& to) {
  const nb::handle value = next();
  if (!value.is_none() && !nb::try_cast(value, to, false))
    refuse_type(op(), name, "a weft.Group", value);
  return nb::borrow(value);
}

void Arguments::numbers(const char* name, std::vector<std::int64_t>& to) {
  const nb::handle value = next();
  if (!nb::try_cast(value, to, false)) refuse_type(op(), name, "a list of integers", value);
}

bool Arguments::is_text(nb::handle value, const char* text) {
  return PyUnicode_Check(value.ptr()) && PyUnicode_CompareWithASCIIString(value.ptr(), text) == 0;
}

void Arguments::refuse_choice(const char* name, nb::handle value, const std::string& names) const {
  refuse(op(), name,
         "is " + std::string(nb::repr(value).c_str()) + ". Choose one of " + names + ".");
}

}  // namespace weft::python
