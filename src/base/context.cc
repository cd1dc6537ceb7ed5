// SPDX-License-Identifier: Apache-2.0
#include "weft/context.h"

#include <fmt/core.h>

#include <algorithm>
#include <system_error>

#include "base/binding.h"
#include "base/context_state.h"
#include "base/env.h"
#include "base/topology.h"

namespace weft {
namespace {

// Far above any machine's use of one rank; it catches a size passed as a count.
constexpr int kMostThreads = 1024;
constexpr int kMostLocalRanks = 65536;

Status check_between(const char* name, int value, int least, int most) {
  if (value >= least && value <= most) return {};
  return Status(
      StatusCode::kInvalidArgument,
      fmt::format("Context::create: {} is {} but must be {} to {}", name, value, least, most));
}

Result<int> choose_threads(const ContextOptions& options) {
  if (options.threads > 0) return options.threads;
  WEFT_ASSIGN_OR_RETURN(const auto from_environment, env::integer("WEFT_THREADS", 0, kMostThreads));
  if (from_environment > 0) return static_cast<int>(from_environment);
  return std::clamp(topology().usable_cpus / options.local_ranks, 1, kMostThreads);
}

// Those that the threads are bound to, if they are.
std::vector<int> choose_cpus(const ContextOptions& options) {
  if (!options.pin_threads) return {};
  return cpus_of_ranks(options.local_ranks, Bind::kCore)[static_cast<size_t>(options.local_rank)];
}

}  // namespace

Context::Context(std::unique_ptr<internal::ContextState> state) : state_(std::move(state)) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

Result<Context> Context::create(const ContextOptions& options) {
  env::warn_unknown_once();
  WEFT_RETURN_IF_ERROR(check_between("threads", options.threads, 0, kMostThreads));
  WEFT_RETURN_IF_ERROR(check_between("local_ranks", options.local_ranks, 1, kMostLocalRanks));
  WEFT_RETURN_IF_ERROR(check_between("local_rank", options.local_rank, 0, options.local_ranks - 1));
  WEFT_ASSIGN_OR_RETURN(const isa::Set isa, isa::capped(options.isa));
  WEFT_ASSIGN_OR_RETURN(const int threads, choose_threads(options));
  try {
    return Context(std::make_unique<internal::ContextState>(isa, threads, choose_cpus(options)));
  } catch (const std::system_error& error) {
    return Status(StatusCode::kOutOfMemory,
                  fmt::format("Context::create: the OS refused to start {} threads ({}); ask for "
                              "fewer with ContextOptions::threads or WEFT_THREADS",
                              threads, error.what()));
  }
}

int Context::threads() const { return state_->pool.threads(); }

std::string Context::isa() const { return isa::names(state_->isa); }

}  // namespace weft
