// SPDX-License-Identifier: Apache-2.0
// What is behind weft::Context.
#pragma once

#include "base/isa.h"
#include "base/scratch.h"
#include "base/thread_pool.h"

namespace weft::internal {

class ContextState {
 public:
  ContextState(isa::Set isa, int threads, bool pin, int first_cpu = 0)
      : isa(isa), pool(threads, pin, first_cpu) {}
  const isa::Set isa;
  ThreadPool pool;
  ScratchPool scratch;
};

}  // namespace weft::internal
