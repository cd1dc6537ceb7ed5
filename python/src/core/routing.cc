// SPDX-License-Identifier: Apache-2.0
// The operators around a mixture of experts on one rank.
#include "core/bindings.h"
#include "core/operators.h"
#include "weft/ops/moe_finalize_routing.h"
#include "weft/ops/moe_gating_topk_softmax.h"
#include "weft/ops/moe_init_routing.h"

namespace weft::python {
namespace {

struct GatingCall : LocalCall<MoeGatingTopkSoftmax, MoeGatingTopkSoftmaxArgs> {
  static constexpr const char* kName = "moe_gating_topk_softmax";
  explicit GatingCall(Arguments& from) {
    from.input("x", args.x);
    from.input("finished", args.finished);
    from.number("k", args.k);
    from.output("y", args.y);
    from.output("expert_idx", args.expert_idx);
    from.output("row_idx", args.row_idx);
  }
};

struct InitRoutingCall : LocalCall<MoeInitRouting, MoeInitRoutingArgs> {
  static constexpr const char* kName = "moe_init_routing";
  explicit InitRoutingCall(Arguments& from) {
    from.input("x", args.x);
    from.input("row_idx", args.row_idx);
    from.input("expert_idx", args.expert_idx);
    from.number("active_num", args.active_num);
    from.output("expanded_x", args.expanded_x);
    from.output("expanded_row_idx", args.expanded_row_idx);
    from.output("expanded_expert_idx", args.expanded_expert_idx);
  }
};

struct FinalizeRoutingCall : LocalCall<MoeFinalizeRouting, MoeFinalizeRoutingArgs> {
  static constexpr const char* kName = "moe_finalize_routing";
  explicit FinalizeRoutingCall(Arguments& from) {
    from.input("expanded_x", args.expanded_x);
    from.input("expanded_row_idx", args.expanded_row_idx);
    from.input("x1", args.x1);
    from.input("x2", args.x2);
    from.input("bias", args.bias);
    from.input("scales", args.scales);
    from.input("expert_idx", args.expert_idx);
    from.choice("order", args.order,
                {{"column_major", ExpandedRowOrder::kColumnMajor},
                 {"row_major", ExpandedRowOrder::kRowMajor}});
    from.output("out", args.out);
  }
};

}  // namespace

void bind_routing(nb::module_& module) {
  bind_operator<GatingCall>(module);
  bind_operator<InitRoutingCall>(module);
  bind_operator<FinalizeRoutingCall>(module);
}

}  // namespace weft::python
