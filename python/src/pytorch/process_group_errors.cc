// SPDX-License-Identifier: Apache-2.0
#include "pytorch/process_group_errors.h"

#include <Python.h>

#include "runtime/errors.h"
#include "runtime/interrupt.h"

namespace weft::python {
namespace {

[[noreturn]] void throw_pending() {
  python_error error;
  error.persist();
  throw error;
}

}  // namespace

StatusError::StatusError(const Status& status)
    : torch::PyTorchError(status.message()), code_(status.code()) {}

PyObject* StatusError::python_type() {
  set_python_error(Status(code_, msg));
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  for (PyObject* object : {type, value, traceback}) Py_XDECREF(object);
  return type;  // its module keeps it alive
}

void throw_if_interrupted(const std::function<void()>& before_throw) {
  if (!interrupted()) return;
  before_throw();
  const pybind11::gil_scoped_acquire gil;
  throw_pending();
}

void throw_if_error(const Status& status) {
  if (status.ok()) return;
  // Ctrl-C reaches all ranks: the others may have left before this one has looked at its signals.
  throw_if_interrupted([] {});
  throw StatusError(status);
}

}  // namespace weft::python
