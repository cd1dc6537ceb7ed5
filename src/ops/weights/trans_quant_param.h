// SPDX-License-Identifier: Apache-2.0
// The rules of trans_quant_param, for front ends that look before they submit.
#pragma once

#include "weft/weights.h"

namespace weft::ops {

/// Everything but that memory is there: data may be null.
Status check_trans_quant_param(const ConstTensorRef& scale, const ConstTensorRef& offset,
                               const ConstTensorRef& out, QuantParamRound round);

}  // namespace weft::ops
