// SPDX-License-Identifier: Apache-2.0
// Letting other Python threads run, where it is not known whether this thread has the GIL.
#pragma once

#include <Python.h>

namespace weft::python {

class WithoutGil {
 public:
  WithoutGil() {
    if (PyGILState_GetThisThreadState() && PyGILState_Check()) state_ = PyEval_SaveThread();
  }
  ~WithoutGil() {
    if (state_) PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

}  // namespace weft::python
