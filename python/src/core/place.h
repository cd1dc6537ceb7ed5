// SPDX-License-Identifier: Apache-2.0
// Place: who computes a call.
#pragma once

#include <nanobind/nanobind.h>

#include <functional>
#include <memory>

#include "runtime/communicator.h"
#include "runtime/context.h"

namespace weft::python {

namespace nb = nanobind;

/// A rank of a group, a context, or for None the context of the process. Lives no longer than the
/// Python object that it was made of.
class Place {
 public:
  /// Raises TypeError if `target` is neither, or no rank where `op` needs one.
  static Place of(const char* op, nb::handle target, bool needs_group);

  /// Makes the call when its turn has come; group is null where there are no ranks. Without the
  /// GIL.
  Status run(const std::function<Status(Context&, Group*)>& call) const;

 private:
  Communicator* ranks_ = nullptr;
  SharedContext* context_ = nullptr;
  std::shared_ptr<SharedContext> default_;  // keeps it
};

}  // namespace weft::python
