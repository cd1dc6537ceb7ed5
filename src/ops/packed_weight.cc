// SPDX-License-Identifier: Apache-2.0
#include "ops/packed_weight.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/context_state.h"
#include "base/topology.h"
#include "kernels/gemm/blocked.h"
#include "kernels/rows/rows.h"

namespace weft {
namespace {

Status check(const ConstTensorRef& x2, const gemm::Kernel* kernel, isa::Set isa) {
  const auto invalid = [](std::string text) {
    return Status(StatusCode::kInvalidArgument, "PackedWeight::pack: " + std::move(text));
  };
  if (!x2.given() || !x2.data()) return invalid("x2 is missing");
  if (x2.rank() != 2 || x2.elements() == 0)
    return invalid(fmt::format("x2 is {} but must be a non-empty (k, n)", to_string(x2)));
  if (x2.stride(0) != 1 && x2.stride(1) != 1)
    return invalid(
        fmt::format("x2 has strides ({}, {}) but one axis must be adjacent; make it contiguous",
                    x2.stride(0), x2.stride(1)));
  if (x2.dtype() != DType::kFloat16 && x2.dtype() != DType::kBFloat16 && x2.dtype() != DType::kInt8)
    return invalid(
        fmt::format("x2 is {} but must be float16, bfloat16 or int8", to_string(x2.dtype())));
  if (!kernel)
    return Status(StatusCode::kUnimplemented, fmt::format("no gemm kernel for {} among {}",
                                                          to_string(x2.dtype()), isa::names(isa)));
  return {};
}

}  // namespace

PackedWeight::PackedWeight(std::unique_ptr<internal::PackedWeightState> state)
    : state_(std::move(state)) {}
PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;
PackedWeight::~PackedWeight() = default;

std::int64_t PackedWeight::k() const { return state_->k; }
std::int64_t PackedWeight::n() const { return state_->n; }
DType PackedWeight::dtype() const { return state_->kernel->b; }
std::int64_t PackedWeight::bytes() const { return state_->panels.bytes(); }

Result<PackedWeight> PackedWeight::pack(Context& context, const ConstTensorRef& x2) {
  const isa::Set isa = context.state().isa;
  const gemm::Kernel* kernel = gemm::select(x2.dtype(), isa);
  WEFT_RETURN_IF_ERROR(check(x2, kernel, isa));
  auto state = std::make_unique<internal::PackedWeightState>();
  state->kernel = kernel;
  state->k = x2.dim(0);
  state->n = x2.dim(1);
  state->kc = gemm::choose_chunk(*kernel, state->k,
                                 gemm::Caches{topology().l1d_bytes, topology().l2_bytes});
  const std::int64_t panels = ceil_div(state->n, kernel->nr);
  const std::int64_t blocks = ceil_div(state->k, state->kc);
  WEFT_ASSIGN_OR_RETURN(
      state->panels,
      Buffer::allocate(blocks * panels * kernel->b_panel_bytes(state->kc), "a packed weight"));

  gemm::Weight weight;
  weight.stored = x2.dtype();
  weight.data = x2.data();
  weight.k_stride = x2.stride(0);
  weight.n_stride = x2.stride(1);
  const rows::Kernels& rows = rows::select(DType::kFloat16, isa);  // unused: nothing is restored
  context.state().pool.parallel_for(blocks * panels, [&](std::int64_t index, int) {
    const std::int64_t k0 = index / panels * state->kc, panel = index % panels;
    const std::int64_t kc = std::min(state->kc, state->k - k0), n0 = panel * kernel->nr;
    std::byte* block =
        state->panels.data() + index / panels * panels * kernel->b_panel_bytes(state->kc);
    const std::int64_t bytes = kernel->b_panel_bytes(kc);
    gemm::pack_block(*kernel, rows, weight,
                     {k0, kc, n0, std::min<std::int64_t>(kernel->nr, state->n - n0)},
                     block + panel * bytes, bytes, nullptr);
  });
  return PackedWeight(std::move(state));
}

}  // namespace weft
