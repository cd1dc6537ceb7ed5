// SPDX-License-Identifier: Apache-2.0
// The Context that a call without ranks computes with.
#pragma once

#include <memory>

#include "core/arrays.h"
#include "runtime/context.h"

namespace weft::python {

/// A context of the program's, or None: that of the process.
using Contexts = std::shared_ptr<SharedContext>;

/// call(context) without the GIL, when no other thread computes with that context; raises its
/// error.
template <typename Call>
void with_context(const Contexts& given, const Call& call) {
  without_gil([&]() -> Status {
    Contexts context = given;
    if (!context) {
      WEFT_ASSIGN_OR_RETURN(context, default_context());
    }
    const std::lock_guard lock(context->turn);
    return call(context->context);
  });
}

}  // namespace weft::python
