// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and other signals during a call that has released the GIL.
#pragma once

namespace weft::python {

/// Runs the Python handlers of signals that have come, on the main thread; elsewhere it does
/// nothing. True: one of them raised, and the exception is set for when the call returns. For
/// GroupOptions::interrupted, without the GIL.
bool interrupted();

}  // namespace weft::python
