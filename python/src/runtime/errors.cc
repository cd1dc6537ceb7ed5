// SPDX-License-Identifier: Apache-2.0
#include "runtime/errors.h"

#include <Python.h>

namespace weft::python {
namespace {

// A class of weft/errors.py.
void set_error_of_weft(const char* name, const std::string& message) {
  PyObject* module = PyImport_ImportModule("weft.errors");
  PyObject* type = module ? PyObject_GetAttrString(module, name) : nullptr;
  if (type) PyErr_SetString(type, message.c_str());
  Py_XDECREF(type);
  Py_XDECREF(module);
}

}  // namespace

void set_python_error(const Status& status) {
  const std::string& message = status.message();
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return PyErr_SetString(PyExc_ValueError, message.c_str());
    case StatusCode::kUnimplemented:
      return PyErr_SetString(PyExc_NotImplementedError, message.c_str());
    case StatusCode::kOutOfMemory:
      return PyErr_SetString(PyExc_MemoryError, message.c_str());
    case StatusCode::kMismatch:
      return set_error_of_weft("Mismatch", message);
    case StatusCode::kTimeout:
      return set_error_of_weft("Timeout", message);
    case StatusCode::kPeerLost:
      return set_error_of_weft("PeerLost", message);
    case StatusCode::kOk:
    case StatusCode::kInternal:
      break;
  }
  set_error_of_weft("Error", message);
}

}  // namespace weft::python
