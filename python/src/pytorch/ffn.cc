// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/ffn.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include "pytorch/packed_weight.h"
#include "pytorch/tensors.h"

namespace weft::python {
namespace {

using Optional = std::optional<at::Tensor>;

Activation activation_of(std::string_view name) {
  const std::optional<Activation> activation = activation_from_name(name);
  if (!activation)
    refuse_operand("activation",
                   "is '" + std::string(name) +
                       "' but must be relu, silu, gelu, fastgelu, reglu, swiglu or geglu");
  return *activation;
}

InnerPrecise inner_precise_of(std::int64_t value) {
  if (value != 0 && value != 1)
    refuse_operand("inner_precise", "is " + std::to_string(value) + " but must be 0 or 1");
  return static_cast<InnerPrecise>(value);
}

// All operands but the weights, their restoring scales and the output.
FfnArgs operands(const at::Tensor& x, const Optional& expert_tokens, bool tokens_are_ends,
                 const Optional& bias1, const Optional& bias2, const Optional& scale,
                 const Optional& offset, const Optional& deq_scale1, const Optional& deq_scale2,
                 std::string_view activation, std::int64_t inner_precise) {
  return {.x = input("x", x),
          .expert_tokens = input("expert_tokens", expert_tokens),
          .tokens_are_ends = tokens_are_ends,
          .bias1 = input("bias1", bias1),
          .bias2 = input("bias2", bias2),
          .scale = input("scale", scale),
          .offset = input("offset", offset),
          .deq_scale1 = input("deq_scale1", deq_scale1),
          .deq_scale2 = input("deq_scale2", deq_scale2),
          .activation = activation_of(activation),
          .inner_precise = inner_precise_of(inner_precise),
          .y = {}};
}

void write(const at::Tensor& x, const at::Tensor& weight1, const at::Tensor& weight2,
           const Optional& expert_tokens, bool tokens_are_ends, const Optional& bias1,
           const Optional& bias2, const Optional& scale, const Optional& offset,
           const Optional& deq_scale1, const Optional& deq_scale2, const Optional& antiquant_scale1,
           const Optional& antiquant_scale2, const Optional& antiquant_offset1,
           const Optional& antiquant_offset2, std::string_view activation,
           std::int64_t inner_precise, bool gate_is_left, at::Tensor& out) {
  FfnArgs args = operands(x, expert_tokens, tokens_are_ends, bias1, bias2, scale, offset,
                          deq_scale1, deq_scale2, activation, inner_precise);
  args.weight1 = weight("weight1", weight1);
  args.weight2 = weight("weight2", weight2);
  args.antiquant_scale1 = input("antiquant_scale1", antiquant_scale1);
  args.antiquant_scale2 = input("antiquant_scale2", antiquant_scale2);
  args.antiquant_offset1 = input("antiquant_offset1", antiquant_offset1);
  args.antiquant_offset2 = input("antiquant_offset2", antiquant_offset2);
  args.y = output(out);
  run([&](Context& context) { return ffn(context, args, {.gate_is_left = gate_is_left}); });
}

// Rows beyond the last expert's are no one's; a result that nobody else has seen gets zeros there.
void clear_rows_of_no_one(at::Tensor& y, const at::Tensor& expert_tokens, bool ends) {
  const at::Tensor rows = ends ? expert_tokens.select(0, -1) : expert_tokens.sum();
  at::Tensor all = y.flatten(0, -2);
  const auto first = rows.item<std::int64_t>();
  if (first < all.size(0)) all.slice(0, first).zero_();
}

at::Tensor make(const at::Tensor& x, const at::Tensor& weight1, const at::Tensor& weight2,
                const Optional& expert_tokens, bool tokens_are_ends, const Optional& bias1,
                const Optional& bias2, const Optional& scale, const Optional& offset,
                const Optional& deq_scale1, const Optional& deq_scale2,
                const Optional& antiquant_scale1, const Optional& antiquant_scale2,
                const Optional& antiquant_offset1, const Optional& antiquant_offset2,
                std::string_view activation, std::int64_t inner_precise, bool gate_is_left) {
  at::Tensor y =
      at::empty(product_shape(x, columns(weight2)), x.options().dtype(result_dtype(x, deq_scale1)));
  write(x, weight1, weight2, expert_tokens, tokens_are_ends, bias1, bias2, scale, offset,
        deq_scale1, deq_scale2, antiquant_scale1, antiquant_scale2, antiquant_offset1,
        antiquant_offset2, activation, inner_precise, gate_is_left, y);
  if (expert_tokens) clear_rows_of_no_one(y, *expert_tokens, tokens_are_ends);
  return y;
}

at::Tensor make_packed(const at::Tensor& x, std::int64_t packed_weight1,
                       std::int64_t packed_weight2, const Optional& expert_tokens,
                       bool tokens_are_ends, const Optional& bias1, const Optional& bias2,
                       const Optional& scale, const Optional& offset, const Optional& deq_scale1,
                       const Optional& deq_scale2, std::string_view activation,
                       std::int64_t inner_precise, bool gate_is_left) {
  const auto first = packed_weight("packed_weight1", packed_weight1);
  const auto second = packed_weight("packed_weight2", packed_weight2);
  at::Tensor y =
      at::empty(product_shape(x, second->n()), x.options().dtype(result_dtype(x, deq_scale1)));
  FfnArgs args = operands(x, expert_tokens, tokens_are_ends, bias1, bias2, scale, offset,
                          deq_scale1, deq_scale2, activation, inner_precise);
  args.packed_weight1 = first.get();
  args.packed_weight2 = second.get();
  args.y = output(y);
  run([&](Context& context) { return ffn(context, args, {.gate_is_left = gate_is_left}); });
  if (expert_tokens) clear_rows_of_no_one(y, *expert_tokens, tokens_are_ends);
  return y;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(weft, library) {
  const std::string weights = "(Tensor x, Tensor weight1, Tensor weight2, *, ",
                    rest =
                        "Tensor? expert_tokens=None, bool tokens_are_ends=False, Tensor? "
                        "bias1=None, Tensor? bias2=None, Tensor? scale=None, Tensor? offset=None, "
                        "Tensor? deq_scale1=None, Tensor? deq_scale2=None, ",
                    scales =
                        "Tensor? antiquant_scale1=None, Tensor? antiquant_scale2=None, Tensor? "
                        "antiquant_offset1=None, Tensor? antiquant_offset2=None, ",
                    attributes =
                        "str activation='gelu', int inner_precise=0, bool gate_is_left=False";
  library.def(("ffn" + weights + rest + scales + attributes + ") -> Tensor").c_str(), kTags);
  library.def(
      ("ffn.out" + weights + rest + scales + attributes + ", Tensor(a!) out) -> ()").c_str(),
      kTags);
  library.def(("ffn.packed(Tensor x, int packed_weight1, int packed_weight2, *, " + rest +
               attributes + ") -> Tensor")
                  .c_str(),
              kTags);
}

TORCH_LIBRARY_IMPL(weft, CPU, library) {
  library.impl("ffn", &make);
  library.impl("ffn.out", &write);
  library.impl("ffn.packed", &make_packed);
}

}  // namespace weft::python
