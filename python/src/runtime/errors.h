// SPDX-License-Identifier: Apache-2.0
// A Status as a Python exception.
#pragma once

#include "weft/status.h"

namespace weft::python {

/// Sets the exception of the status's code with its message; not for ok. ValueError,
/// NotImplementedError, MemoryError, or those of weft/errors.py. Needs the GIL.
void set_python_error(const Status& status);

}  // namespace weft::python
