// SPDX-License-Identifier: Apache-2.0
// The rules about the operands of the product, which the operators of the family share.
#pragma once

#include <vector>

#include "broken_rule.h"
#include "weft/tensor.h"

namespace weft::ops {

/// For operators whose legal calls are (2, 3, 64) · (64, 10) in float16, int8·int8 and
/// float16·int8. `found`: the code of most rules, which CANN finds in different places.
template <typename Args>
std::vector<BrokenRule<Args>> operand_rules(Args (*float_args)(), Args (*quant_args)(),
                                            Args (*weight_quant_args)(), int found) {
  constexpr DType kF16 = DType::kFloat16, kBf16 = DType::kBFloat16;
  constexpr DType kI8 = DType::kInt8, kI4 = DType::kInt4, kU64 = DType::kUInt64;
  return {
      {"no_x1", float_args, [](Args& a) { a.x1 = {}; }, "x1 is missing", kNull},
      {"no_x2", float_args, [](Args& a) { a.x2 = {}; }, "x2 is missing", kNull},
      {"no_dequant_scale", quant_args, [](Args& a) { a.dequant_scale = {}; },
       "dequant_scale is missing; int8 x1 and x2 need one", kNull},
      {"no_antiquant_scale", weight_quant_args, [](Args& a) { a.antiquant_scale = {}; },
       "antiquant_scale is missing; an int8 x2 with float16 x1 needs one", kNull},
      {"k_differs", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kF16, {63, 10}};
       },
       "the last dimension of x1 is 64 but x2.dim(0) is 63; both are k", kInvalid},
      {"no_such_row", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kBf16, {64, 10}};
       },
       "there is no row for x1 float16 with x2 bfloat16; use float16 or bfloat16 for both, int8 "
       "for both, or "
       "float16 / bfloat16 x1 with int8 / int4 x2",
       found},
      {"dequant_scale_without_int8", float_args,
       [](Args& a) {
         a.dequant_scale = {nullptr, kU64, {10}};
       },
       "dequant_scale is given, but x1 is float16; leave it out", found},
      {"antiquant_scale_without_int8", float_args,
       [](Args& a) {
         a.antiquant_scale = {nullptr, kF16, {10}};
       },
       "antiquant_scale or antiquant_offset is given, but x2 is float16; leave them out", found},
      {"quant_bias_dtype", quant_args,
       [](Args& a) {
         a.bias = {nullptr, kF16, {10}};
       },
       "bias is float16 but must be int32 with int8 x1 and x2", found},
      {"quant_with_antiquant", quant_args,
       [](Args& a) {
         a.antiquant_scale = {nullptr, kF16, {10}};
       },
       "antiquant_scale or antiquant_offset is given, but x1 and x2 are int8; leave them out",
       found},
      {"antiquant_scale_dtype", weight_quant_args,
       [](Args& a) {
         a.antiquant_scale = {nullptr, kBf16, {10}};
       },
       "antiquant_scale is bfloat16 but must be float16 like x1", found},
      {"antiquant_offset_dtype", weight_quant_args,
       [](Args& a) {
         a.antiquant_offset = {nullptr, kBf16, {10}};
       },
       "antiquant_offset is bfloat16 but must be float16 like antiquant_scale", found},
      {"x1_rank", float_args,
       [](Args& a) {
         a.x1 = {nullptr, kF16, {1, 2, 3, 64}};
       },
       "x1 is (1, 2, 3, 64) but must be (m, k) or (b, s, k)", found},
      {"x2_rank", float_args,
       [](Args& a) {
         a.x2 = {nullptr, kF16, {64, 1, 10}};
       },
       "x2 is (64, 1, 10) but must be (k, n)", found},
      {"int8_too_deep", quant_args,
       [](Args& a) {
         a.x1 = {nullptr, kI8, {2, 3, 65536}};
         a.x2 = {nullptr, kI8, {65536, 10}};
       },
       "k is 65536 but must be at most 65535 with int8 x1 and x2 (the sums are int32); use more "
       "ranks",
       kTiling},
      {"bias_shape", float_args,
       [](Args& a) {
         a.bias = {nullptr, kF16, {9}};
       },
       "bias is (9) but must be (n) = (10)", found},
      {"dequant_scale_shape", quant_args,
       [](Args& a) {
         a.dequant_scale = {nullptr, kU64, {9}};
       },
       "dequant_scale is (9) but must be (1), (10) or (1, 10)", found},
      {"antiquant_scale_shape", weight_quant_args,
       [](Args& a) {
         a.antiquant_scale = {nullptr, kF16, {2, 10}};
       },
       "antiquant_scale is (2, 10) but must be (1), (10) or (1, 10) when antiquant_group_size is "
       "0",
       found},
      {"group_not_32", weight_quant_args, [](Args& a) { a.antiquant_group_size = 48; },
       "antiquant_group_size is 48 but must be 0 or a multiple of 32 from 32 to k - 1 = 63", found},
      {"group_too_large", weight_quant_args, [](Args& a) { a.antiquant_group_size = 64; },
       "antiquant_group_size is 64 but must be 0 or a multiple of 32 from 32 to k - 1 = 63", found},
      {"group_negative", weight_quant_args, [](Args& a) { a.antiquant_group_size = -32; },
       "antiquant_group_size is -32 but must be 0 or a multiple of 32 from 32 to k - 1 = 63",
       found},
      {"group_scale_shape", weight_quant_args, [](Args& a) { a.antiquant_group_size = 32; },
       "antiquant_scale is (10) but must be (ceil(k / antiquant_group_size), n) = (2, 10)", found},
      {"offset_shape", weight_quant_args,
       [](Args& a) {
         a.antiquant_offset = {nullptr, kF16, {1}};
       },
       "antiquant_offset is (1) but must be (10) like antiquant_scale", found},
      {"group_without_scale", float_args, [](Args& a) { a.antiquant_group_size = 32; },
       "antiquant_group_size is 32 but must be 0 without an antiquant_scale", kNoCode},
      {"x2_strides", float_args,
       [](Args& a) {
         const std::int64_t dims[] = {64, 10}, strides[] = {20, 2};
         a.x2 = {nullptr, kF16, dims, strides};
       },
       "x2 has strides (20, 2) but one axis must be adjacent: row-major (…, 1) or the transposed "
       "view (1, …); make "
       "it contiguous",
       found},
      {"x1_fractal_nz", float_args,
       [](Args& a) { a.x1 = ConstTensorRef::fractal_nz(nullptr, kF16, 6, 64); },
       "x1 is FRACTAL_NZ but only x2 can be; pass it with strides", found},
      {"group_of_one_scale", weight_quant_args,
       [](Args& a) {
         a.antiquant_group_size = 32;
         a.antiquant_scale = a.antiquant_offset = {nullptr, kF16, {1}};
       },
       "antiquant_scale is (1) but antiquant_group_size is 32; one scale for all has no groups",
       kTiling},
      {"nz_per_group", weight_quant_args,
       [](Args& a) {
         a.x2 = ConstTensorRef::fractal_nz(nullptr, kI8, 64, 10);
         a.antiquant_group_size = 32;
         a.antiquant_scale = a.antiquant_offset = {nullptr, kF16, {2, 10}};
       },
       "antiquant_group_size is 32 with x2 in FRACTAL_NZ but must be 0; pass x2 row-major or as "
       "the "
       "transposed view",
       kTiling},
      {"nz_int4", weight_quant_args,
       [](Args& a) { a.x2 = ConstTensorRef::fractal_nz(nullptr, kI4, 64, 10); },
       "x2 is int4 in FRACTAL_NZ but that is for float16, bfloat16 and int8; pass it row-major or "
       "as the transposed view",
       kTiling},
  };
}

}  // namespace weft::ops
