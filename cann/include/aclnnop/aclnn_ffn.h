/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CANN_ACLNNOP_ACLNN_FFN_H
#define WEFT_CANN_ACLNNOP_ACLNN_FFN_H

#include "acl/acl.h"
#include "aclnn/aclnn_base.h"
#include "aclnnop/aclnn_util.h"
#include "hccl/hccl.h"
#include "hccl/hccl_types.h"

#ifdef __cplusplus
#include <cstdio>
#include <memory>
#include <new>
#include <string>

extern "C" {
#endif

/**
 * h = x · weight1 + bias1
 * y = act(h) · weight2 + bias2
 * and with a gate (geglu, swiglu, reglu): y = (left · act(right)) · weight2 + bias2, where left and
 * right are the halves of h's columns.
 *
 * x (…, K1) of 2 to 8 axes, its rows counted as M; weight1 (K1, N1), weight2 (N1, K1), with a gate
 * (N1 / 2, K1), neither of more than 65535 rows; y like x. bias1 (N1), bias2 (K1), or null.
 *
 *   x, weights             bias   y
 *   float16                float16  float16    innerPrecise 0: h in float; 1: h in float16
 *   bfloat16               float    bfloat16   innerPrecise 0
 *   int8                   int32    float16 or bfloat16
 *   float16 · int8, int4   float16  float16
 *   bfloat16 · int8, int4  float    bfloat16
 *
 * int8 x: h = (x · weight1 + bias1) · deqScale1; act(h) · scale + offset becomes int8;
 * y = (that · weight2 + bias2) · deqScale2. deqScale1 (N1) and deqScale2 (K1): uint64 or int64
 * (aclnnTransQuantParamV2) or float for float16, bfloat16 for bfloat16. scale (1) or, if deqScale
 * is not of float, (N1); offset (1); both of float. All four are needed.
 * Weights of int8 or int4 with float16 or bfloat16 x stand for (w + antiquantOffset) ·
 * antiquantScale, of x's dtype: (N), for int4 also (G, N) with groups of K / G rows. All four are
 * needed. int4: two per byte, the lower half first; N1 and K1 even, dense or a dense transposed
 * view.
 *
 * activation, in upper or lower case: fastgelu, relu, silu, gelu (the tanh form); geglu, swiglu,
 * reglu for float16 with innerPrecise 1 and without experts.
 *
 * expertTokens: the rows of E experts, 1 to 256, as counts from the first row on; they add up to M.
 * Then weights, biases, scales and offsets begin with an axis of E: (E, K1, N1), scale (E) or
 * (E, N1), offset (E). Null or of size 0: no experts. Its values are taken by the first phase.
 *
 * Views may have any strides; y overlaps no operand. The executor can be made repeatable.
 *
 * The first that is wrong counts. 161002: activation unknown (161001: null). 161001: x, weight1,
 * weight2, y, workspaceSize or executor is null. 161002: all else, but 561103: innerPrecise neither
 * 0 nor 1, more than 256 experts, M close to 2^31. An x without elements: ACLNN_SUCCESS,
 * workspaceSize 0, nothing to do. The second phase returns 561000 whatever is wrong.
 */
ACLNN_API aclnnStatus aclnnFFNGetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight1, const aclTensor *weight2,
    const aclIntArray *expertTokens, const aclTensor *bias1, const aclTensor *bias2,
    const aclTensor *scale, const aclTensor *offset, const aclTensor *deqScale1,
    const aclTensor *deqScale2, const aclTensor *antiquantScale1, const aclTensor *antiquantScale2,
    const aclTensor *antiquantOffset1, const aclTensor *antiquantOffset2, const char *activation,
    int64_t innerPrecise, const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor);

ACLNN_API aclnnStatus aclnnFFN(void *workspace, uint64_t workspaceSize, aclOpExecutor *executor,
                               const aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
