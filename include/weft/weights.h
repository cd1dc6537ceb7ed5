// SPDX-License-Identifier: Apache-2.0
// Preparing weights and scales: the FRACTAL_NZ image of a weight and packed dequantisation scales.
#pragma once

#include <cstdint>
#include <span>

#include "weft/context.h"
#include "weft/export.h"
#include "weft/status.h"
#include "weft/tensor.h"

namespace weft {

/// Elements (not bytes) of the FRACTAL_NZ image of a weight of shape `dims` (2 to 6 axes; leading
/// axes multiply): the last two axes are rounded up to (16, 16) for float16 and bfloat16, to
/// (16, 32) for int8. Errors: kInvalidArgument. CANN: aclnnCalculateMatmulWeightSizeV2.
WEFT_API Result<std::int64_t> calculate_matmul_weight_size(std::span<const std::int64_t> dims,
                                                           DType dtype);

/// Rewrites a weight in place as the FRACTAL_NZ image of its view: element (i, j) goes to
/// ((j / c0 · ceil(rows / 16) + i / 16) · 16 + i mod 16) · c0 + j mod c0, c0 = 32 bytes of
/// elements, padding zero; every matrix of a batch on its own, one image after the other. `weight`
/// is (…, rows, columns) of float16, bfloat16 (2 or 3 axes) or int8 (2 to 6), any strides, and
/// `capacity` elements of memory start at weight.data(): at least calculate_matmul_weight_size. A
/// second image is allocated for the time of the call. Returns the view to pass on: for 2 axes
/// fractal_nz of the rows and columns, for more the dense storage (…, ceil(columns / c0),
/// ceil(rows / 16), 16, c0). An empty weight is left alone and returned. Errors: kInvalidArgument,
/// kOutOfMemory (nothing was written). CANN: aclnnTransMatmulWeight.
WEFT_API Result<TensorRef> trans_matmul_weight(Context& context, const TensorRef& weight,
                                               std::int64_t capacity);

/// The two directions between a (rows, columns) matrix with any strides and its FRACTAL_NZ image
/// (BasicTensorRef::fractal_nz, or its transposed view for the image of the transposed matrix), of
/// float16, bfloat16 or int8. Packing writes the padding as zero, unpacking does not read it. The
/// memory must not overlap. Errors: kInvalidArgument.
WEFT_API Status pack_fractal_nz(Context& context, const ConstTensorRef& matrix,
                                const TensorRef& image);
WEFT_API Status unpack_fractal_nz(Context& context, const ConstTensorRef& image,
                                  const TensorRef& matrix);

/// How trans_quant_param makes 10 of the 23 bits of a mantissa.
enum class QuantParamRound {
  kTruncate,  ///< drops the low 13 bits
  kNearest,   ///< to nearest, ties to even; subnormals become signed zero, nan is truncated
};

/// Packs dequantisation scales as matmuls with int8 operands and float16 outputs take them:
///
///   out = fp32 bits of scale with 10 bits of mantissa
///         | (clamp(nearest integer of offset, -256, 255) & 511) << 37 | 1 << 46
///
/// scale, offset (or not given) and out: (t) or (1, t), any strides; one element of scale or offset
/// stands for all. scale and offset float32, out uint64 or int64, overlapping neither. Ties of the
/// offset go to even; a nan offset counts as 0. Errors: kInvalidArgument. CANN:
/// aclnnTransQuantParamV2 and V3.
WEFT_API Status trans_quant_param(const ConstTensorRef& scale, const ConstTensorRef& offset,
                                  const TensorRef& out,
                                  QuantParamRound round = QuantParamRound::kTruncate);

}  // namespace weft
