// SPDX-License-Identifier: Apache-2.0
// A Status as an exception that any thread can make and keep: it touches Python only where it
// becomes a Python exception.
#pragma once

#include <torch/csrc/Exceptions.h>

#include "weft/status.h"

namespace weft::python {

class StatusError : public torch::PyTorchError {
 public:
  explicit StatusError(const Status& status);
  PyObject* python_type() override;  ///< needs the GIL

 private:
  StatusCode code_;
};

/// Throws it for a status that is not ok; or, if a signal's handler raised during the call on this
/// thread, what that raised.
void throw_if_error(const Status& status);

/// Runs the handlers of signals that have come, on the main thread. Throws what they raise, after
/// before_throw(). Without the GIL.
void throw_if_interrupted(const std::function<void()>& before_throw);

}  // namespace weft::python
