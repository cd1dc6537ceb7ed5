// SPDX-License-Identifier: Apache-2.0
// SharedContext: a Context that several Python threads may call with; they take turns.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "weft/context.h"

namespace weft::python {

struct SharedContext {
  explicit SharedContext(Context made) : context(std::move(made)) {}
  static Result<std::shared_ptr<SharedContext>> create(const ContextOptions& options);

  Context context;
  std::mutex turn;  ///< held for the length of a call
};

/// That of the process, for operators without ranks: made by the first call that names none, with
/// `threads` of this process. Error: that of Context::create, each time.
Result<std::shared_ptr<SharedContext>> default_context();
/// Replaces it; null: the next call makes one.
void set_default_context(std::shared_ptr<SharedContext> context);

}  // namespace weft::python
