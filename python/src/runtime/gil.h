// SPDX-License-Identifier: Apache-2.0
// Leaving and taking the GIL where a thread may outlive the interpreter.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace weft::python {

/// take() takes the GIL. When the interpreter is about to end, CPython ends other threads in there
/// by unwinding their stack, which C++ does not survive (a destructor, noexcept): such a thread
/// stays here until the process is gone.
template <typename Take>
auto take_gil(const Take& take) {
  try {
    return take();
  } catch (...) {  // nothing else comes: take() is a function of C
    while (true) pause();
  }
}

/// Does without the GIL for as long as it lives.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    take_gil([&] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace weft::python
