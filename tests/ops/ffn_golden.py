#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The numbers of ffn_golden_test.cc's worked example, by numpy alone: python3 ffn_golden.py"""

import numpy as np


def fp16(v):
    return np.float64(np.float16(v))


def round_to(v, bits, away=False):  # to `bits` significant bits; nothing here is subnormal
    step = 2.0 ** (np.floor(np.log2(np.abs(v) + (v == 0))) + 1 - bits)
    q = v / step
    return (np.sign(q) * np.floor(np.abs(q) + 0.5) if away else np.rint(q)) * step


def f(name, v):
    t = {"silu": v, "swiglu": v, "fastgelu": 1.702 * v, "gelu": 1.5957691216057308 * (v + 0.044715 * v**3)}
    return v / (1 + np.exp(-t[name]))


def grid(rows, columns, a, b, modulus):
    i, j = np.mgrid[0:rows, 0:columns]
    return np.float64((a * i + b * j) % modulus - modulus // 2)


def example(row, activation, wiggle):
    gated, bits = activation == "swiglu", 8 if "BF16" in row else 11
    n1 = 8 if gated else 4
    x, w1, w2 = grid(2, 3, 5, 3, 7), grid(3, n1, 4, 2, 9), grid(4, 3, 3, 5, 7)
    b1, b2 = np.arange(n1) % 3 - 1.0, np.arange(3) - 1.0
    to_t = lambda v: round_to(v, bits)
    if row[0] == "Q":
        h = (9 * x @ (7 * w1) + 100 * b1) * 2.0**-8
    elif "int8" in row:  # weights restored by an offset of 0.3 and a scale of 0.19, both as T
        offset, scale = to_t(np.float64(0.3)), to_t(np.float64(0.19))
        restore = lambda w: to_t((to_t(w + offset) if bits == 11 else w + offset) * scale)
        w1, w2 = restore(w1), restore(w2)
        h = x / 4 @ w1 + b1 / 8
    else:
        w1, w2 = w1 / 4, w2 / 8
        h = x / 4 @ w1 + b1 / 8
    steps = bits == 11 and row != "F16"  # that row is in high precision
    h = fp16(h) if steps else h
    a = h[:, :4] * f(activation, h[:, 4:]) if gated else f(activation, h)
    a = a * (1 + wiggle)
    if row[0] == "Q":
        q = fp16(fp16(fp16(a) * fp16(np.float32(23.7))) + fp16(np.float32(-1.3)))
        return to_t((np.clip(np.rint(q), -128, 127) @ w2 + 10 * b2) * 2.0**-5)
    a = fp16(a) if steps else round_to(a, bits, away=True)
    return to_t(a @ w2 + b2 / 4)


for row in ("F16", "BF16", "Q16", "QBF16", "F16_int8", "BF16_int8"):
    for activation in ("gelu", "silu", "fastgelu", "swiglu"):
        y = example(row, activation, 0)
        for wiggle in (-1e-6, 1e-6):  # no number is so near to a tie that fp32 might decide
            assert (example(row, activation, wiggle) == y).all(), (row, activation)
        print(f'{{"{row}", "{activation}", {{{", ".join(repr(float(v)) for v in y.ravel())}}}}},')
