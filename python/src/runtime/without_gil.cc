// SPDX-License-Identifier: Apache-2.0
#include "runtime/without_gil.h"

#include <Python.h>

#include "runtime/take_gil.h"

namespace weft::python {

WithoutGil::WithoutGil() {
  if (PyGILState_GetThisThreadState() && PyGILState_Check()) state_ = PyEval_SaveThread();
}

WithoutGil::~WithoutGil() {
  if (state_)
    take_gil([this] {
      PyEval_RestoreThread(static_cast<PyThreadState*>(state_));
      return true;
    });
}

}  // namespace weft::python
