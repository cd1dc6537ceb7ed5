// SPDX-License-Identifier: Apache-2.0
#include "runtime/interrupt.h"

#include "runtime/gil.h"

namespace weft::python {

bool interrupted() {
  // A thread that Python does not know has no handlers to run, and may not ask an interpreter that
  // is ending for the GIL.
  if (!PyGILState_GetThisThreadState()) return false;
  // The state of this thread is the one that released the GIL, so what a handler raises stays set.
  const PyGILState_STATE state = take_gil([] { return PyGILState_Ensure(); });
  const bool raised = PyErr_Occurred() != nullptr || PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return raised;
}

}  // namespace weft::python
