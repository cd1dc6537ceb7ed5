// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of moe_finalize_routing, and of run() of all three.
#include "moe_routing_contract.h"

namespace weft::ops {
namespace {

TEST(MoeRoutingContract, FinalizeRouting) {
  expect_all_refused<Finalize>(
      kMoeFinalizeRouting, finalize(),
      {{"no_x", [](Finalize& a) { a.expanded_x = {}; }, kNull, "expanded_x is missing"},
       {"no_rows", [](Finalize& a) { a.expanded_row_idx = {}; }, kNull,
        "expanded_row_idx is missing"},
       {"no_out", [](Finalize& a) { a.out = {}; }, kNull, "out is missing"},
       {"x_type",
        [](Finalize& a) {
          a.expanded_x = shape(kI8, {8, 16});
        },
        kInvalid, "expanded_x is int8 but must be float16, bfloat16 or float32"},
       {"x1_type",
        [](Finalize& a) {
          a.x1 = shape(kF32, {4, 16});
        },
        kInvalid, "x1 is float32 but must be float16 like expanded_x"},
       {"x2_type",
        [](Finalize& a) {
          a.x2 = shape(kBF16, {4, 16});
        },
        kInvalid, "x2 is bfloat16 but must be float16 like expanded_x"},
       {"bias_type",
        [](Finalize& a) {
          a.bias = shape(kF32, {5, 16});
        },
        kInvalid, "bias is float32 but must be float16 like expanded_x"},
       {"out_type",
        [](Finalize& a) {
          a.out = shape(kF32, {4, 16});
        },
        kInvalid, "out is float32 but must be float16 like expanded_x"},
       {"scales_type",
        [](Finalize& a) {
          a.scales = shape(kF32, {4, 2});
        },
        kInvalid, "scales is float32 but must be float16 like expanded_x"},
       {"row_type", [](Finalize& a) { a.expanded_row_idx = shape(kI64, {8}); }, kInvalid,
        "expanded_row_idx is int64 but must be int32"},
       {"ids_type",
        [](Finalize& a) {
          a.expert_idx = shape(kF16, {4, 2});
        },
        kInvalid, "expert_idx is float16 but must be int32"},
       {"format", [](Finalize& a) { a.x1 = TensorRef::fractal_nz(nullptr, kF16, 16, 16); }, kTiling,
        "x1 is FRACTAL_NZ but must lie as its strides say"},
       {"x_rank",
        [](Finalize& a) {
          a.expanded_x = shape(kF16, {1, 2, 4, 16});
        },
        kTiling, "expanded_x is (1, 2, 4, 16) but must have 2 axes, (rows, H), or 3, (E, C, H)"},
       {"row_rank",
        [](Finalize& a) {
          a.expanded_row_idx = shape(kI32, {4, 2});
        },
        kTiling, "expanded_row_idx is (4, 2) but must have 1 axis, (n·K)"},
       {"scales_rank", [](Finalize& a) { a.scales = shape(kF16, {8}); }, kTiling,
        "scales is (8) but must have 2 axes"},
       {"columns",
        [](Finalize& a) {
          a.out = shape(kF16, {4, 15});
        },
        kTiling, "out is (4, 15) but must have 16 columns like expanded_x, (8, 16)"},
       {"places", [](Finalize& a) { a.expanded_row_idx = shape(kI32, {9}); }, kTiling,
        "expanded_row_idx is (9) but must have a multiple of 4 numbers, the rows of out"},
       {"places_of_none",
        [](Finalize& a) {
          a.out = shape(kF16, {0, 16});
        },
        kTiling, "expanded_row_idx is (8) but must have a multiple of 0 numbers, the rows of out"},
       {"x1_rows",
        [](Finalize& a) {
          a.x1 = shape(kF16, {5, 16});
        },
        kTiling, "x1 is (5, 16) but must be (4, 16), like out"},
       {"x2_columns",
        [](Finalize& a) {
          a.x2 = shape(kF16, {4, 1});
        },
        kTiling, "x2 is (4, 1) but must be (4, 16), like out"},
       {"bias_columns",
        [](Finalize& a) {
          a.bias = shape(kF16, {5, 15});
        },
        kTiling, "bias is (5, 15) but must be (5, 16), a row of H for every expert"},
       {"scales_shape",
        [](Finalize& a) {
          a.scales = shape(kF16, {4, 3});
        },
        kTiling, "scales is (4, 3) but must be (4, 2), a value for each of expanded_row_idx"},
       {"ids_shape",
        [](Finalize& a) {
          a.expert_idx = shape(kI32, {2, 4});
        },
        kTiling, "expert_idx is (2, 4) but must be (4, 2), a value for each of expanded_row_idx"},
       {"no_ids", [](Finalize& a) { a.expert_idx = {}; }, kTiling,
        "bias is given but expert_idx is not; pass both, it says whose bias a row gets"},
       {"too_far",
        [](Finalize& a) {
          a.x1 = strided(kF16, {4, 16}, {INT64_MAX, 1});
        },
        kTiling, "x1 is (4, 16) with strides (9223372036854775807, 1), more than can be addressed"},
       {"out_strides",
        [](Finalize& a) {
          a.out = strided(kF16, {4, 16}, {1, 4});
        },
        kTiling,
        "out has strides (1, 4), but the elements of a row must lie adjacent; make it contiguous"},
       {"out_rows",
        [](Finalize& a) {
          a.out = strided(kF16, {4, 16}, {0, 1});
        },
        kTiling,
        "out has strides (0, 1) that put several of its rows at the same place; make it "
        "contiguous"}});
  Finalize a = finalize();
  a.expanded_x = a.x1 = a.x2 = a.bias = {};
  a.expanded_x = shape(kBF16, {2, 4, 16});
  a.out = shape(kBF16, {4, 16});
  a.scales = shape(kI32, {4, 2});
  EXPECT_EQ(check_plan(a).message(),
            "moe_finalize_routing: scales is int32 but must be bfloat16 like expanded_x, or "
            "float32");
  a.scales = shape(kF32, {4, 2});
  EXPECT_TRUE(check_plan(a).ok());
}

// --- run() ---

template <typename Args>
void expect_run_refused(const Args& planned, const Args& args, const std::string& message) {
  const Status status = check_run(planned, args);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), message);
}

// Memory that is not touched.
TensorRef at(std::uintptr_t address, const ConstTensorRef& t) {
  return {reinterpret_cast<void*>(address << 20), t.dtype(), t.dims()};
}

TEST(MoeRoutingContract, RunsOfGating) {
  Gating a = gating();
  a.x = at(1, a.x), a.finished = at(2, a.finished);
  a.y = at(3, a.y), a.expert_idx = at(4, a.expert_idx), a.row_idx = at(5, a.row_idx);
  EXPECT_TRUE(check_run(a, a).ok());
  Gating b = a;
  b.k = 3;
  expect_run_refused(a, b, "moe_gating_topk_softmax: k is 3 but 4 was planned; plan again");
  b = a;
  b.y = a.y.with_data(nullptr);
  expect_run_refused(a, b, "moe_gating_topk_softmax: y has no data (null pointer)");
  b = a;
  b.row_idx = at(4, a.row_idx);
  expect_run_refused(a, b,
                     "moe_gating_topk_softmax: expert_idx overlaps row_idx; give it memory of its "
                     "own");
  b = a;
  b.y = at(1, a.y);
  expect_run_refused(a, b, "moe_gating_topk_softmax: y overlaps x; give it memory of its own");
  b = a;
  b.finished = {};
  EXPECT_NE(check_run(a, b).message().find("plan again"), std::string::npos);
}

TEST(MoeRoutingContract, RunsOfInitRouting) {
  Init a = init();
  a.x = at(1, a.x), a.row_idx = at(2, a.row_idx), a.expert_idx = at(3, a.expert_idx);
  a.expanded_x = at(4, a.expanded_x), a.expanded_row_idx = at(5, a.expanded_row_idx);
  a.expanded_expert_idx = at(6, a.expanded_expert_idx);
  EXPECT_TRUE(check_run(a, a).ok());
  Init b = a;
  b.active_num = 4;
  expect_run_refused(a, b, "moe_init_routing: active_num is 4 but 3 was planned; plan again");
  b = a;
  b.expanded_x = at(1, a.expanded_x);
  expect_run_refused(a, b, "moe_init_routing: expanded_x overlaps x; give it memory of its own");
  b = a;
  b.expanded_expert_idx = at(3, a.expanded_expert_idx);
  expect_run_refused(
      a, b, "moe_init_routing: expanded_expert_idx overlaps expert_idx; give it memory of its own");
}

TEST(MoeRoutingContract, RunsOfFinalizeRouting) {
  Finalize a = finalize();
  a.expanded_x = at(1, a.expanded_x), a.expanded_row_idx = at(2, a.expanded_row_idx);
  a.x1 = at(3, a.x1), a.x2 = at(4, a.x2), a.bias = at(5, a.bias), a.scales = at(6, a.scales);
  a.expert_idx = at(7, a.expert_idx), a.out = at(8, a.out);
  EXPECT_TRUE(check_run(a, a).ok());
  Finalize b = a;
  b.order = ExpandedRowOrder::kRowMajor;
  expect_run_refused(a, b, "moe_finalize_routing: order differs from the planned one; plan again");
  for (const std::uintptr_t in_place : {3, 4}) {
    b = a;
    b.out = at(in_place, a.out);
    EXPECT_TRUE(check_run(a, b).ok());
  }
  b.out = TensorRef(static_cast<char*>(b.out.data()) + 2, kF16, {4, 16});
  expect_run_refused(a, b,
                     "moe_finalize_routing: out overlaps x2; only exactly x2's memory may be "
                     "shared with out");
  b.out = at(1, a.out);
  expect_run_refused(a, b,
                     "moe_finalize_routing: out overlaps expanded_x; give it memory of its own");
  b.out = at(7, a.out);
  expect_run_refused(a, b,
                     "moe_finalize_routing: out overlaps expert_idx; give it memory of its own");
}

}  // namespace
}  // namespace weft::ops
