// SPDX-License-Identifier: Apache-2.0
// One failing call per rule of moe_gating_topk_softmax and moe_init_routing, with the text a user
// sees and CANN's code.
#include "moe_routing_contract.h"

namespace weft::ops {
namespace {

TEST(MoeRoutingContract, GatingOperands) {
  expect_all_refused<Gating>(
      kMoeGatingTopkSoftmax, gating(),
      {{"no_x", [](Gating& a) { a.x = {}; }, kNull, "x is missing"},
       {"no_y", [](Gating& a) { a.y = {}; }, kNull, "y is missing"},
       {"no_expert_idx", [](Gating& a) { a.expert_idx = {}; }, kNull, "expert_idx is missing"},
       {"no_row_idx", [](Gating& a) { a.row_idx = {}; }, kNull, "row_idx is missing"},
       {"x_type",
        [](Gating& a) {
          a.x = shape(kI8, {2, 3, 8});
        },
        kInvalid, "x is int8 but must be float16, bfloat16 or float32"},
       {"y_type",
        [](Gating& a) {
          a.y = shape(kF32, {2, 3, 4});
        },
        kInvalid, "y is float32 but must be float16 like x"},
       {"finished_type",
        [](Gating& a) {
          a.finished = shape(kI8, {2, 3});
        },
        kInvalid, "finished is int8 but must be bool"},
       {"expert_type",
        [](Gating& a) {
          a.expert_idx = shape(kI64, {2, 3, 4});
        },
        kInvalid, "expert_idx is int64 but must be int32"},
       {"row_type",
        [](Gating& a) {
          a.row_idx = shape(kF16, {2, 3, 4});
        },
        kInvalid, "row_idx is float16 but must be int32"},
       {"format", [](Gating& a) { a.x = TensorRef::fractal_nz(nullptr, kF16, 16, 16); }, kTiling,
        "x is FRACTAL_NZ but must lie as its strides say"},
       {"no_axes", [](Gating& a) { a.x = shape(kF16, {}); }, kTiling, "x has no dimensions"},
       {"negative",
        [](Gating& a) {
          a.y = shape(kF16, {2, -3, 4});
        },
        kTiling, "y is (2, -3, 4) but no extent can be negative"}});
}

TEST(MoeRoutingContract, GatingShapes) {
  expect_all_refused<Gating>(
      kMoeGatingTopkSoftmax, gating(),
      {{"one_axis", [](Gating& a) { a.x = shape(kF16, {8}); }, kTiling,
        "x is (8) but must have 2 axes or more, tokens and experts"},
       {"finished_shape", [](Gating& a) { a.finished = shape(DType::kBool, {6}); }, kTiling,
        "finished is (6) but must be (2, 3), x without its last axis"},
       {"y_rank",
        [](Gating& a) {
          a.y = shape(kF16, {6, 4});
        },
        kTiling,
        "y is (6, 4) but must be (2, 3, 4): k = 4 places for every token of x, which is (2, 3, 8)"},
       {"expert_shape",
        [](Gating& a) {
          a.expert_idx = shape(kI32, {2, 4, 4});
        },
        kTiling,
        "expert_idx is (2, 4, 4) but must be (2, 3, 4): k = 4 places for every token of x, which "
        "is (2, 3, 8)"},
       {"k", [](Gating& a) { a.k = 5; }, kTiling,
        "y is (2, 3, 4) but must be (2, 3, 5): k = 5 places for every token of x, which is (2, 3, "
        "8)"},
       {"k_large",
        [](Gating& a) {
          a.k = 9;
          a.y = shape(kF16, {2, 3, 9});
          a.expert_idx = a.row_idx = shape(kI32, {2, 3, 9});
        },
        kTiling, "k is 9 but must be 0 to 8, the experts that x has"},
       {"experts",
        [](Gating& a) {
          a.x = strided(kF16, {2, 3, kHuge}, {0, 0, 1});
        },
        kTiling,
        "x has 2147483648 experts but at most 2147483647 are possible: expert_idx is int32"},
       {"rows",
        [](Gating& a) {
          a.x = shape(kF16, {2, kHuge, 8});
          a.finished = {};
          a.y = shape(kF16, {2, kHuge, 4});
          a.expert_idx = a.row_idx = shape(kI32, {2, kHuge, 4});
        },
        kTiling, "row_idx is (2, 2147483648, 4), more than 2147483647 numbers; make several calls"},
       {"too_far",
        [](Gating& a) {
          a.x = strided(kF16, {2, 3, 8}, {INT64_MAX, 8, 1});
        },
        kTiling,
        "x is (2, 3, 8) with strides (9223372036854775807, 8, 1), more than can be addressed"},
       {"y_strides",
        [](Gating& a) {
          a.y = strided(kF16, {2, 3, 4}, {24, 8, 2});
        },
        kTiling,
        "y has strides (24, 8, 2), but the elements of a row must lie adjacent; make it "
        "contiguous"},
       {"row_strides",
        [](Gating& a) {
          a.row_idx = strided(kI32, {2, 3, 4}, {4, 4, 1});
        },
        kTiling,
        "row_idx has strides (4, 4, 1) that put several of its rows at the same place; make it "
        "contiguous"}});
}

TEST(MoeRoutingContract, InitRouting) {
  expect_all_refused<Init>(
      kMoeInitRouting, init(),
      {{"no_x", [](Init& a) { a.x = {}; }, kNull, "x is missing"},
       {"no_row_idx", [](Init& a) { a.row_idx = {}; }, kNull, "row_idx is missing"},
       {"no_expert_idx", [](Init& a) { a.expert_idx = {}; }, kNull, "expert_idx is missing"},
       {"no_expanded_x", [](Init& a) { a.expanded_x = {}; }, kNull, "expanded_x is missing"},
       {"no_expanded_row_idx", [](Init& a) { a.expanded_row_idx = {}; }, kNull,
        "expanded_row_idx is missing"},
       {"no_expanded_expert_idx", [](Init& a) { a.expanded_expert_idx = {}; }, kNull,
        "expanded_expert_idx is missing"},
       {"x_type",
        [](Init& a) {
          a.x = shape(kI8, {5, 8});
        },
        kInvalid, "x is int8 but must be float16, bfloat16 or float32"},
       {"expanded_type",
        [](Init& a) {
          a.expanded_x = shape(kF16, {6, 8});
        },
        kInvalid, "expanded_x is float16 but must be bfloat16 like x"},
       {"ids_type",
        [](Init& a) {
          a.expert_idx = shape(kI64, {5, 2});
        },
        kInvalid, "expert_idx is int64 but must be int32"},
       {"row_type",
        [](Init& a) {
          a.row_idx = shape(kI64, {5, 2});
        },
        kInvalid, "row_idx is int64 but must be int32"},
       {"expanded_row_type", [](Init& a) { a.expanded_row_idx = shape(kF32, {10}); }, kInvalid,
        "expanded_row_idx is float32 but must be int32"},
       {"format", [](Init& a) { a.x = TensorRef::fractal_nz(nullptr, kBF16, 16, 16); }, kTiling,
        "x is FRACTAL_NZ but must lie as its strides say"},
       {"x_rank",
        [](Init& a) {
          a.x = shape(kBF16, {1, 5, 8});
        },
        kTiling, "x is (1, 5, 8) but must have 2 axes, (n, H)"},
       {"row_rank", [](Init& a) { a.row_idx = shape(kI32, {10}); }, kTiling,
        "row_idx is (10) but must have 2 axes, (n, K)"},
       {"expanded_rank", [](Init& a) { a.expanded_x = shape(kBF16, {48}); }, kTiling,
        "expanded_x is (48) but must have 2 axes, (min(active_num, n)·K, H)"},
       {"expanded_row_rank",
        [](Init& a) {
          a.expanded_row_idx = shape(kI32, {5, 2});
        },
        kTiling, "expanded_row_idx is (5, 2) but must have 1 axis, (n·K)"},
       {"ids_rows",
        [](Init& a) {
          a.expert_idx = shape(kI32, {4, 2});
        },
        kTiling, "expert_idx is (4, 2) but must have 5 rows like x, which is (5, 8)"},
       {"row_shape",
        [](Init& a) {
          a.row_idx = shape(kI32, {5, 3});
        },
        kTiling, "row_idx is (5, 3) but must be (5, 2) like expert_idx"},
       {"active_num", [](Init& a) { a.active_num = -1; }, kTiling,
        "active_num is -1 but must be 0 or more"},
       {"expanded_rows", [](Init& a) { a.active_num = 9; }, kTiling,
        "expanded_x is (6, 8) but must be (10, 8): min(active_num, n) = 5 times K = 2 rows of x"},
       {"expanded_columns",
        [](Init& a) {
          a.expanded_x = shape(kBF16, {6, 9});
        },
        kTiling,
        "expanded_x is (6, 9) but must be (6, 8): min(active_num, n) = 3 times K = 2 rows of x"},
       {"expanded_ids", [](Init& a) { a.expanded_expert_idx = shape(kI32, {6}); }, kTiling,
        "expanded_expert_idx is (6) but must be (10), a number for each of expert_idx, which is "
        "(5, 2)"},
       {"pairs",
        [](Init& a) {
          a.x = strided(kBF16, {kHuge, 8}, {0, 1});
          a.row_idx = a.expert_idx = shape(kI32, {kHuge, 2});
        },
        kTiling, "expert_idx is (2147483648, 2), more than 2147483647 numbers; make several calls"},
       {"too_far",
        [](Init& a) {
          a.x = strided(kBF16, {5, 8}, {INT64_MIN, 1});
        },
        kTiling, "x is (5, 8) with strides (-9223372036854775808, 1), more than can be addressed"},
       {"out_strides",
        [](Init& a) {
          a.expanded_x = strided(kBF16, {6, 8}, {1, 6});
        },
        kTiling,
        "expanded_x has strides (1, 6), but the elements of a row must lie adjacent; make it "
        "contiguous"},
       {"rows_together",
        [](Init& a) {
          a.expanded_x = strided(kBF16, {6, 8}, {4, 1});
        },
        kTiling,
        "expanded_x has strides (4, 1) that put several of its rows at the same place; make it "
        "contiguous"},
       {"index_strides", [](Init& a) { a.expanded_row_idx = strided(kI32, {10}, {2}); }, kTiling,
        "expanded_row_idx has strides (2), but the elements of a row must lie adjacent; make it "
        "contiguous"}});
}

}  // namespace
}  // namespace weft::ops
