// SPDX-License-Identifier: Apache-2.0
#include "runtime/context.h"

#include <cstdlib>

namespace weft::python {
namespace {

std::mutex default_mutex;
std::shared_ptr<SharedContext> default_made;  // guarded by default_mutex

// How many ranks share this host, as launchers say it; 1 if none does.
int local_ranks() {
  for (const char* name : {"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}) {
    const char* value = std::getenv(name);
    const int ranks = value ? std::atoi(value) : 0;
    if (ranks > 0) return ranks;
  }
  return 1;
}

}  // namespace

Result<std::shared_ptr<SharedContext>> SharedContext::create(const ContextOptions& options) {
  WEFT_ASSIGN_OR_RETURN(Context context, Context::create(options));
  return std::make_shared<SharedContext>(std::move(context));
}

Result<std::shared_ptr<SharedContext>> default_context() {
  const std::lock_guard lock(default_mutex);
  if (!default_made) {
    WEFT_ASSIGN_OR_RETURN(default_made, SharedContext::create({.local_ranks = local_ranks()}));
  }
  return default_made;
}

void set_default_context(std::shared_ptr<SharedContext> context) {
  const std::lock_guard lock(default_mutex);
  default_made = std::move(context);
}

}  // namespace weft::python
