// SPDX-License-Identifier: Apache-2.0
// The operators of a mixture of experts that need no other rank.
#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/tensors.h"
#include "weft/ops/moe_finalize_routing.h"
#include "weft/ops/moe_gating_topk_softmax.h"
#include "weft/ops/moe_init_routing.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;
using Three = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

Three gating(const at::Tensor& x, std::int64_t k, const Optional& finished) {
  const std::vector<std::int64_t> shape = product_shape(x, std::max<std::int64_t>(k, 0));
  at::Tensor y = at::empty(shape, x.options());
  at::Tensor expert_idx = at::empty(shape, x.options().dtype(at::kInt));
  at::Tensor row_idx = at::empty_like(expert_idx);
  const MoeGatingTopkSoftmaxArgs args{.x = input("x", x),
                                      .finished = input("finished", finished),
                                      .k = k,
                                      .y = output(y),
                                      .expert_idx = output(expert_idx),
                                      .row_idx = output(row_idx)};
  run([&](Context& context) { return moe_gating_topk_softmax(context, args); });
  return {y, expert_idx, row_idx};
}

Three init_routing(const at::Tensor& x, const at::Tensor& row_idx, const at::Tensor& expert_idx,
                   std::int64_t active_num) {
  const std::int64_t tokens = x.dim() > 0 ? x.size(0) : 0;
  const std::int64_t experts = expert_idx.dim() > 1 ? expert_idx.size(1) : 0;
  const std::int64_t rows = std::clamp<std::int64_t>(active_num, 0, tokens) * experts;
  at::Tensor expanded_x = at::empty({rows, x.dim() > 1 ? x.size(1) : 0}, x.options());
  // What no row_idx names is not written.
  at::Tensor expanded_row_idx = at::zeros({tokens * experts}, x.options().dtype(at::kInt));
  at::Tensor expanded_expert_idx = at::empty_like(expanded_row_idx);
  const MoeInitRoutingArgs args{.x = input("x", x),
                                .row_idx = input("row_idx", row_idx),
                                .expert_idx = input("expert_idx", expert_idx),
                                .active_num = active_num,
                                .expanded_x = output(expanded_x),
                                .expanded_row_idx = output(expanded_row_idx),
                                .expanded_expert_idx = output(expanded_expert_idx)};
  run([&](Context& context) { return moe_init_routing(context, args); });
  return {expanded_x, expanded_row_idx, expanded_expert_idx};
}

ExpandedRowOrder order_of(std::string_view name) {
  if (name == "column_major") return ExpandedRowOrder::kColumnMajor;
  if (name == "row_major") return ExpandedRowOrder::kRowMajor;
  refuse_operand("order", "is '" + std::string(name) + "' but must be column_major or row_major");
}

// Its rows are the one thing that no operand but these has.
std::int64_t tokens_of(const at::Tensor& expanded_row_idx, const Optional& x1, const Optional& x2,
                       const Optional& scales, const Optional& expert_idx) {
  for (const Optional* rows : {&x1, &x2, &scales, &expert_idx})
    if (*rows && (*rows)->dim() > 0) return (*rows)->size(0);
  return expanded_row_idx.numel();  // K is 1
}

at::Tensor finalize_routing(const at::Tensor& expanded_x, const at::Tensor& expanded_row_idx,
                            const Optional& x1, const Optional& x2, const Optional& bias,
                            const Optional& scales, const Optional& expert_idx,
                            std::string_view order) {
  at::Tensor out = at::empty({tokens_of(expanded_row_idx, x1, x2, scales, expert_idx),
                              expanded_x.dim() > 0 ? expanded_x.size(-1) : 0},
                             expanded_x.options());
  const MoeFinalizeRoutingArgs args{.expanded_x = input("expanded_x", expanded_x),
                                    .expanded_row_idx = input("expanded_row_idx", expanded_row_idx),
                                    .x1 = input("x1", x1),
                                    .x2 = input("x2", x2),
                                    .bias = input("bias", bias),
                                    .scales = input("scales", scales),
                                    .expert_idx = input("expert_idx", expert_idx),
                                    .order = order_of(order),
                                    .out = output(out)};
  run([&](Context& context) { return moe_finalize_routing(context, args); });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  library.def(
      "moe_gating_topk_softmax(Tensor x, int k, *, Tensor? finished=None) -> (Tensor y, Tensor "
      "expert_idx, Tensor row_idx)",
      kTags);
  library.def(
      "moe_init_routing(Tensor x, Tensor row_idx, Tensor expert_idx, int active_num) -> (Tensor "
      "expanded_x, Tensor expanded_row_idx, Tensor expanded_expert_idx)",
      kTags);
  library.def(
      "moe_finalize_routing(Tensor expanded_x, Tensor expanded_row_idx, *, Tensor? x1=None, "
      "Tensor? x2=None, Tensor? bias=None, Tensor? scales=None, Tensor? expert_idx=None, str "
      "order='column_major') -> Tensor",
      kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("moe_gating_topk_softmax", &gating);
  library.impl("moe_init_routing", &init_routing);
  library.impl("moe_finalize_routing", &finalize_routing);
}

}  // namespace weft::python
