// SPDX-License-Identifier: Apache-2.0
// The functions and roundings of activation.h in double, in the plainest way: what tests and the
// operators' references compare with.
#pragma once

#include "kernels/activation/activation.h"
#include "weft/dtype.h"

namespace weft::activation::reference {

/// f(v), special values as in activation.h.
double value(Function function, double v);

/// The largest |f'|: an error of v makes at most so many times that error of f(v).
double slope_bound(Function function);

/// A bound of |f(v) as the kernels compute it - value(function, v)| for a v that is a float,
/// derived with u = 2^-24, the error of one rounding to fp32. x is the argument of exp:
///
///   x            silu: exact; fastgelu: constant and product, 2 u |x|; gelu: at most constant (u),
///                square (u), multiply-add (u), product (u), all terms of one sign: 4 u |x|
///   exp(x)       E = exp(x + that) · (1 + 2 u), for kExpUlps = 1 ulp is at most 2 u of the result
///   1 + exp(x)   relative: (E - exp(x)) / (1 + exp(x)), and u
///   quotient     that, and u, of |f(v)|. Then half of the least subnormal
///
/// and a little for products of errors. Where exp(x) may overflow the result may be 0 instead: the
/// bound is |f(v)|, below 1e-36. relu: 0.
double error(Function function, double v);

/// value rounded to float16 or bfloat16, ties away from zero.
double round_half_away(DType type, double value);

/// q(a) of activation.h: each step exact in double, then rounded once.
int quantise(float a, float quant_scale, float quant_offset);

}  // namespace weft::activation::reference
