// SPDX-License-Identifier: Apache-2.0
// Taking the GIL where a thread may outlive the interpreter.
#pragma once

#include <unistd.h>

namespace weft::python {

/// Returns take(), a call of CPython's that takes the GIL. When the interpreter is about to end, it
/// ends other threads in there by unwinding their stack, which C++ does not survive (a destructor,
/// noexcept): such a thread stays here until the process is gone.
template <typename Take>
auto take_gil(const Take& take) {
  try {
    return take();
  } catch (...) {  // nothing else comes: CPython is C
    while (true) pause();
  }
}

}  // namespace weft::python
