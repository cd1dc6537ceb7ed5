// SPDX-License-Identifier: Apache-2.0
#include "ops/weights/packed_weight.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/context_state.h"
#include "base/memory_use.h"
#include "kernels/gemm/blocked.h"
#include "kernels/rows/rows.h"
#include "ops/dense.h"

namespace weft {
namespace {

Status check(const ConstTensorRef& x2, const gemm::Kernel* kernel, isa::Set isa) {
  const auto invalid = [](std::string text) {
    return Status(StatusCode::kInvalidArgument, "PackedWeight::pack: " + std::move(text));
  };
  if (!x2.given() || !x2.data()) return invalid("x2 is missing");
  const bool empty = std::ranges::any_of(x2.dims(), [](std::int64_t extent) { return extent < 1; });
  if ((x2.rank() != 2 && x2.rank() != 3) || empty)
    return invalid(
        fmt::format("x2 is {} but must be a non-empty (k, n) or (experts, k, n)", to_string(x2)));
  const int k = x2.rank() - 2, n = x2.rank() - 1;
  const bool adjacent = x2.stride(k) == 1 || x2.dim(k) == 1 || x2.stride(n) == 1 || x2.dim(n) == 1;
  if (x2.format() == Format::kStrided && !(adjacent && x2.stride(k) > 0 && x2.stride(n) > 0))
    return invalid(
        fmt::format("x2 has strides ({}, {}) but one axis must be adjacent; make it contiguous",
                    x2.stride(k), x2.stride(n)));
  if (x2.dtype() != DType::kFloat16 && x2.dtype() != DType::kBFloat16 && x2.dtype() != DType::kInt8)
    return invalid(
        fmt::format("x2 is {} but must be float16, bfloat16 or int8", to_string(x2.dtype())));
  if (!kernel)
    return Status(StatusCode::kUnimplemented, fmt::format("no gemm kernel for {} among {}",
                                                          to_string(x2.dtype()), isa::names(isa)));
  return {};
}

// The bytes of one chunk's panels.
std::int64_t chunk_bytes(const internal::PackedWeightState& state) {
  return ceil_div(state.n, state.kernel->nr) * state.kernel->b_panel_bytes(state.kc);
}

// Packs x2 into the panels; `scratch` is what each thread's pack_block may use.
void pack_panels(ThreadPool& pool, isa::Set isa, const ConstTensorRef& x2, std::byte* scratch,
                 std::int64_t scratch_bytes, internal::PackedWeightState& state) {
  const gemm::Kernel& kernel = *state.kernel;
  const rows::Kernels& rows = rows::select(DType::kFloat16, isa);  // unused: nothing is restored
  const std::int64_t panels = ceil_div(state.n, kernel.nr), chunks = ceil_div(state.k, state.kc);
  const std::int64_t experts = std::max<std::int64_t>(state.experts, 1);
  pool.parallel_for(experts * chunks * panels, [&](std::int64_t index, int thread) {
    const std::int64_t expert = index / (chunks * panels);
    const std::int64_t chunk = index / panels % chunks, panel = index % panels;
    const std::int64_t k0 = chunk * state.kc, n0 = panel * kernel.nr;
    const std::int64_t kc = std::min(state.kc, state.k - k0), bytes = kernel.b_panel_bytes(kc);
    const gemm::Weight weight = gemm::weight_of(state.experts > 0 ? ops::slice(x2, expert) : x2);
    gemm::pack_block(kernel, rows, weight,
                     {k0, kc, n0, std::min<std::int64_t>(kernel.nr, state.n - n0)},
                     state.panels.data() + expert * state.expert_bytes() +
                         chunk * chunk_bytes(state) + panel * bytes,
                     bytes, scratch + thread * scratch_bytes);
  });
}

}  // namespace

namespace internal {

std::optional<std::int64_t> packed_bytes(const gemm::Kernel& kernel, std::int64_t experts,
                                         std::int64_t k, std::int64_t n, std::int64_t kc) {
  std::int64_t bytes = kernel.b_panel_bytes(kc);
  if (__builtin_mul_overflow(bytes, ceil_div(n, kernel.nr), &bytes) ||
      __builtin_mul_overflow(bytes, ceil_div(k, kc), &bytes) ||
      __builtin_mul_overflow(bytes, std::max<std::int64_t>(experts, 1), &bytes))
    return std::nullopt;
  return bytes;
}

}  // namespace internal

PackedWeight::PackedWeight(std::unique_ptr<internal::PackedWeightState> state)
    : state_(std::move(state)) {}
PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

std::int64_t PackedWeight::experts() const { return state_->experts; }
std::int64_t PackedWeight::k() const { return state_->k; }
std::int64_t PackedWeight::n() const { return state_->n; }
DType PackedWeight::dtype() const { return state_->kernel->b; }
std::int64_t PackedWeight::bytes() const { return state_->panel_bytes; }
Result<MemoryUse> PackedWeight::memory_use() const {
  return weft::memory_use(state_->panels.data(), state_->panels.bytes());
}
const std::string& PackedWeight::source() const { return state_->source; }

Result<PackedWeight> PackedWeight::pack(Context& context, const ConstTensorRef& x2) {
  const isa::Set isa = context.state().isa;
  ThreadPool& pool = context.state().pool;
  const gemm::Kernel* kernel = gemm::select(x2.dtype(), isa);
  WEFT_RETURN_IF_ERROR(check(x2, kernel, isa));
  auto state = std::make_unique<internal::PackedWeightState>();
  state->kernel = kernel;
  state->experts = x2.rank() == 3 ? x2.dim(0) : 0;
  state->k = x2.dim(x2.rank() - 2);
  state->n = x2.dim(x2.rank() - 1);
  state->kc = gemm::choose_chunk(*kernel, state->k, gemm::machine_caches());
  state->source = to_string(x2);
  const auto bytes = internal::packed_bytes(*kernel, state->experts, state->k, state->n, state->kc);
  if (!bytes)
    return Status(StatusCode::kOutOfMemory,
                  fmt::format("PackedWeight::pack: x2 is {}, too large to pack", state->source));
  state->panel_bytes = *bytes;
  WEFT_ASSIGN_OR_RETURN(state->panels, Buffer::allocate(*bytes, "a packed weight"));
  const std::int64_t scratch_bytes = round_up(
      gemm::pack_scratch_bytes(*kernel, gemm::weight_of(x2), state->kc, kernel->nr), kCacheLine);
  WEFT_ASSIGN_OR_RETURN(const Buffer scratch, Buffer::allocate(pool.threads() * scratch_bytes,
                                                               "strips of a FRACTAL_NZ weight"));
  pack_panels(pool, isa, x2, scratch.data(), scratch_bytes, *state);
  return PackedWeight(std::move(state));
}

}  // namespace weft
