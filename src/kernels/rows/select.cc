// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cassert>

#include "kernels/rows/rows.h"

namespace weft::rows {

#define WEFT_ROWS_NORM(isa_bit, dtype, suffix) void add_rmsnorm_row_##suffix(const AddRmsNormRow&);
#define WEFT_ROWS(isa_bit, dtype, suffix)                         \
  WEFT_ROWS_NORM(isa_bit, dtype, suffix)                          \
  void store_tile_f32_##suffix(const StoreTile&);                 \
  void store_tile_s32_##suffix(const StoreTile&);                 \
  void sum_rows_##suffix(const SumRows&);                         \
  void requant_row_##suffix(const RequantRow&);                   \
  void dequant_row_##suffix(const DequantRow&);                   \
  void antiquant_int8_row_##suffix(const AntiquantRow&);          \
  void antiquant_int4_row_##suffix(const AntiquantRow&);          \
  void widen_##suffix(const void*, float*, std::int64_t);         \
  void narrow_##suffix(const float*, void*, std::int64_t);        \
  void weighted_sum_row_##suffix(const WeightedSumRow&);          \
  void weighted_sum_norm_row_##suffix(const WeightedSumNormRow&); \
  void quantize_row_##suffix(const QuantizeRow&);                 \
  void encode_groups_row_##suffix(const EncodeGroupsRow&);        \
  void decode_groups_row_##suffix(const DecodeGroupsRow&);        \
  void blend_row_##suffix(const BlendRow&);
#include "kernels/rows/kernels.inc"
#undef WEFT_ROWS
#undef WEFT_ROWS_NORM

namespace {

constexpr Kernels kTable[] = {
#define WEFT_ROWS(isa_bit, dtype, suffix)                   \
  {.name = "rows_" #suffix,                                 \
   .isa = isa::isa_bit,                                     \
   .type = DType::dtype,                                    \
   .store_tile_f32 = store_tile_f32_##suffix,               \
   .store_tile_s32 = store_tile_s32_##suffix,               \
   .sum_rows = sum_rows_##suffix,                           \
   .add_rmsnorm_row = add_rmsnorm_row_##suffix,             \
   .requant_row = requant_row_##suffix,                     \
   .dequant_row = dequant_row_##suffix,                     \
   .antiquant_int8_row = antiquant_int8_row_##suffix,       \
   .antiquant_int4_row = antiquant_int4_row_##suffix,       \
   .widen = widen_##suffix,                                 \
   .narrow = narrow_##suffix,                               \
   .weighted_sum_row = weighted_sum_row_##suffix,           \
   .weighted_sum_norm_row = weighted_sum_norm_row_##suffix, \
   .quantize_row = quantize_row_##suffix,                   \
   .encode_groups_row = encode_groups_row_##suffix,         \
   .decode_groups_row = decode_groups_row_##suffix,         \
   .blend_row = blend_row_##suffix},
#define WEFT_ROWS_NORM(isa_bit, dtype, suffix) \
  {.name = "rows_" #suffix,                    \
   .isa = isa::isa_bit,                        \
   .type = DType::dtype,                       \
   .add_rmsnorm_row = add_rmsnorm_row_##suffix},
#include "kernels/rows/kernels.inc"
#undef WEFT_ROWS
#undef WEFT_ROWS_NORM
};

}  // namespace

std::span<const Kernels> kernels() { return kTable; }

const Kernels& select(DType type, isa::Set available) {
  const Kernels* best = nullptr;
  for (const Kernels& row : kTable) {
    if (row.type != type || (row.isa & ~(available | isa::kScalar))) continue;
    best = &row;
    break;
  }
  assert(best && "rows::select: no kernels for this type");
  return *best;
}

void stream_fence() { _mm_sfence(); }

}  // namespace weft::rows
