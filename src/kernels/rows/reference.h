// SPDX-License-Identifier: Apache-2.0
// The row functions in the plainest way, one element after the other: what tests and the operators'
// references compare with. Arguments as in rows.h; Store is ignored. These round exactly where
// rows.h says; the _f64 functions do not round at all.
#pragma once

#include <cstdint>

#include "kernels/rows/rows.h"

namespace weft::rows::reference {

double load(DType type, const void* p, std::int64_t index);
/// Rounds once, from double.
void store(DType type, void* p, std::int64_t index, double value);

void store_tile_f32(DType type, const StoreTile& args);
void store_tile_s32(DType type, const StoreTile& args);
void sum_rows(DType type, const SumRows& args);
/// The conversion of StoreTile and RequantRow.
std::int8_t to_int8(float x);
void requant_row(const RequantRow& args);
void dequant_row(DType type, const DequantRow& args);
void add_rmsnorm_row(DType type, const AddRmsNormRow& args);
void antiquant_int8_row(DType type, const AntiquantRow& args);
void antiquant_int4_row(DType type, const AntiquantRow& args);
void widen(DType type, const void* src, float* dst, std::int64_t n);
void narrow(DType type, const float* src, void* dst, std::int64_t n);
/// The mean square of add_rmsnorm_row and weighted_sum_norm_row.
float mean_square(const float* f, std::int64_t n);
void weighted_sum_row(DType type, const WeightedSumRow& args);
void weighted_sum_norm_row(DType type, const WeightedSumNormRow& args);
void quantize_row(DType type, const QuantizeRow& args);
void encode_groups_row(DType type, const EncodeGroupsRow& args);
void decode_groups_row(DType type, const DecodeGroupsRow& args);
void blend_row(DType type, const BlendRow& args);

/// out[j] = y[j] / sqrt(mean of y² + epsilon) · gamma[j] in double, from y as stored. A row that
/// rounds as rows.h says differs from it by at most 2·u + u² (h and out) and a little fp32 error,
/// relative, where nothing is subnormal; u is T's unit roundoff.
void rmsnorm_row_f64(DType type, std::int64_t n, const void* y, const void* gamma, float epsilon,
                     double* out);

}  // namespace weft::rows::reference
