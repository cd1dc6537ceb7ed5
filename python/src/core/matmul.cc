// SPDX-License-Identifier: Apache-2.0
// The matmul + collective operators.
#include "core/bindings.h"
#include "core/operators.h"
#include "weft/ops/matmul_allreduce.h"
#include "weft/ops/matmul_allreduce_add_rmsnorm.h"
#include "weft/ops/matmul_reduce_scatter.h"

namespace weft::python {
namespace {

struct MatmulAllReduceCall : CollectiveCall<MatmulAllReduce, MatmulAllReduceArgs> {
  static constexpr const char* kName = "matmul_allreduce";
  explicit MatmulAllReduceCall(Arguments& from) {
    from.input("x1", args.x1);
    from.weight("x2", args.x2, args.packed_x2);
    from.input("bias", args.bias);
    from.input("x3", args.x3);
    from.input("dequant_scale", args.dequant_scale);
    from.input("pertoken_scale", args.pertoken_scale);
    from.input("antiquant_scale", args.antiquant_scale);
    from.input("antiquant_offset", args.antiquant_offset);
    from.number("antiquant_group_size", args.antiquant_group_size);
    from.input("comm_quant_scale_1", args.comm_quant_scale_1);
    from.input("comm_quant_scale_2", args.comm_quant_scale_2);
    from.output("output", args.output);
  }
};

struct MatmulAllReduceAddRmsNormCall
    : CollectiveCall<MatmulAllReduceAddRmsNorm, MatmulAllReduceAddRmsNormArgs> {
  static constexpr const char* kName = "matmul_allreduce_add_rmsnorm";
  explicit MatmulAllReduceAddRmsNormCall(Arguments& from) {
    from.input("x1", args.x1);
    from.weight("x2", args.x2, args.packed_x2);
    from.input("bias", args.bias);
    from.input("dequant_scale", args.dequant_scale);
    from.input("antiquant_scale", args.antiquant_scale);
    from.input("antiquant_offset", args.antiquant_offset);
    from.number("antiquant_group_size", args.antiquant_group_size);
    from.input_3d("residual", args.residual);
    from.input("gamma", args.gamma);
    from.number("epsilon", args.epsilon);
    from.output_3d("y", args.y);
    from.output_3d("norm_out", args.norm_out);
  }
};

struct MatmulReduceScatterCall : CollectiveCall<MatmulReduceScatter, MatmulReduceScatterArgs> {
  static constexpr const char* kName = "matmul_reduce_scatter";
  explicit MatmulReduceScatterCall(Arguments& from) {
    from.input("x1", args.x1);
    from.weight("x2", args.x2, args.packed_x2);
    from.input("bias", args.bias);
    from.input("x1_scale", args.x1_scale);
    from.input("x2_scale", args.x2_scale);
    from.output("output", args.output);
  }
};

}  // namespace

void bind_matmul(nb::module_& module) {
  bind_operator<MatmulAllReduceCall>(module);
  bind_operator<MatmulAllReduceAddRmsNormCall>(module);
  bind_operator<MatmulReduceScatterCall>(module);
}

}  // namespace weft::python
