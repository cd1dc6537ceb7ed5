// SPDX-License-Identifier: Apache-2.0
#include "weft/ops/ffn.h"

#include "core/bindings.h"
#include "core/operators.h"

namespace weft::python {
namespace {

struct FfnCall : BasicCall<Ffn, FfnArgs> {
  static constexpr const char* kName = "ffn";
  static constexpr bool kNeedsGroup = false;
  FfnOptions options;

  explicit FfnCall(Arguments& from) {
    from.input("x", args.x);
    from.weight("weight1", args.weight1, args.packed_weight1);
    from.weight("weight2", args.weight2, args.packed_weight2);
    from.input("expert_tokens", args.expert_tokens);
    from.flag("tokens_are_ends", args.tokens_are_ends);
    from.input("bias1", args.bias1);
    from.input("bias2", args.bias2);
    from.input("scale", args.scale);
    from.input("offset", args.offset);
    from.input("deq_scale1", args.deq_scale1);
    from.input("deq_scale2", args.deq_scale2);
    from.input("antiquant_scale1", args.antiquant_scale1);
    from.input("antiquant_scale2", args.antiquant_scale2);
    from.input("antiquant_offset1", args.antiquant_offset1);
    from.input("antiquant_offset2", args.antiquant_offset2);
    from.choice("activation", args.activation,
                {{"fastgelu", Activation::kFastGelu},
                 {"relu", Activation::kRelu},
                 {"silu", Activation::kSilu},
                 {"gelu", Activation::kGelu},
                 {"geglu", Activation::kGeglu},
                 {"swiglu", Activation::kSwiglu},
                 {"reglu", Activation::kReglu}});
    from.choice("inner_precise", args.inner_precise,
                {{"high_precision", InnerPrecise::kHighPrecision},
                 {"high_performance", InnerPrecise::kHighPerformance}});
    from.output("y", args.y);
    from.flag("gate_is_left", options.gate_is_left);
  }

  Result<Ffn> plan(Context& context, Group*, Group*) { return Ffn::plan(context, args, options); }
  bool same_options(const FfnCall& other) const {
    return options.gate_is_left == other.options.gate_is_left;
  }
};

}  // namespace

void bind_ffn(nb::module_& module) { bind_operator<FfnCall>(module); }

}  // namespace weft::python
