// SPDX-License-Identifier: Apache-2.0
// What is behind weft::Context.
#pragma once

#include <vector>

#include "base/isa.h"
#include "base/scratch.h"
#include "base/thread_pool.h"

namespace weft::internal {

class ContextState {
 public:
  ContextState(isa::Set isa, int threads, const std::vector<int>& cpus)
      : isa(isa), pool(threads, cpus) {}
  const isa::Set isa;
  ThreadPool pool;
  ScratchPool scratch;
};

}  // namespace weft::internal
