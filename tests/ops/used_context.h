// SPDX-License-Identifier: Apache-2.0
// A Context as plans leave it: there is something in its scratch, here NaNs and numbers below zero.
#pragma once

#include <cstring>

#include "base/context_state.h"
#include "weft/context.h"

namespace weft::testing {

/// `bytes`: of each purpose; plans that need more get fresh memory.
inline Context used_context(const ContextOptions& options, std::int64_t bytes = 256 << 10) {
  Context context = Context::create(options).value();
  for (int i = 0; i < static_cast<int>(ScratchFor::kCount); ++i) {
    const Scratch scratch =
        context.state().scratch.reserve(static_cast<ScratchFor>(i), bytes).value();
    std::memset(scratch.data(), 0xff, static_cast<std::size_t>(bytes));
  }
  return context;
}

}  // namespace weft::testing
