# SPDX-License-Identifier: Apache-2.0
"""ffn: the two products of a feed-forward network and what is between them; no communication."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft import _core
from weft.arrays import columns_of, empty_product, shape_of
from weft.group import Context, Group, handle_of
from weft.planned import Planned


def ffn(x: Any, weight1: Any, weight2: Any, *, expert_tokens: Any = None, tokens_are_ends: bool = False, bias1: Any = None,
        bias2: Any = None, scale: Any = None, offset: Any = None, deq_scale1: Any = None, deq_scale2: Any = None,
        antiquant_scale1: Any = None, antiquant_scale2: Any = None, antiquant_offset1: Any = None,
        antiquant_offset2: Any = None, activation: str = "gelu", inner_precise: str = "high_precision",
        gate_is_left: bool = False, context: Context | Group | None = None, out: Any = None) -> Any:
    """y = f(x·weight1 + bias1)·weight2 + bias2, dense or for each expert of a mixture; returns y.

    T is float16 or bfloat16; [E,] an axis for the experts, which all operands have or all lack. x: (…, K1), T or int8.
    weight1, weight2: ([E,] K1, N1), ([E,] K2, N2), where N1 = K2, or 2·K2 with a gate; T, int8 or int4 (uint8 holds two), or
    a PackedWeight. expert_tokens: (E) of int64 (or a list), the rows of x of each expert in their order; tokens_are_ends:
    the row after its last one instead. bias1, bias2: ([E,] N). int8·int8: scale, offset of float32 quantise the activation,
    deq_scale1, deq_scale2 ([E,] N) of uint64, int64, float32 (T = float16) or bfloat16. T·int8 or int4: antiquant_scale1, …:
    ([E,] N), ([E,] G, N) or ([E,] 1) of T. activation: fastgelu, relu, silu, gelu (the tanh form), or with a gate geglu,
    swiglu, reglu: value times f of the right half of the columns, of the left one with gate_is_left. inner_precise:
    high_precision or high_performance (float16: the first product is rounded). out: (…, N2) of T.

    Errors: ValueError, NotImplementedError. Rounding: docs/ops/ffn.md.
    """
    if isinstance(expert_tokens, (list, tuple)):
        expert_tokens = np.array(expert_tokens, np.int64)
    if out is None:
        out = empty_product((*shape_of("x", x)[:-1], columns_of(weight2)), x, deq_scale1)
    _core.ffn(handle_of(context), x, weight1, weight2, expert_tokens, tokens_are_ends, bias1, bias2, scale, offset,
              deq_scale1, deq_scale2, antiquant_scale1, antiquant_scale2, antiquant_offset1, antiquant_offset2, activation,
              inner_precise, out, gate_is_left)
    return out


class Ffn(Planned, function=ffn):
    pass
