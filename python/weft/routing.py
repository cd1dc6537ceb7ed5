# SPDX-License-Identifier: Apache-2.0
"""What surrounds the experts of a mixture on one rank; no communication. T is float16, bfloat16 or float32."""

from __future__ import annotations

from typing import Any

from weft import _core
from weft.arrays import empty, shape_of
from weft.group import Context, Group, handle_of
from weft.planned import Planned

Three = tuple[Any, Any, Any]


def moe_gating_topk_softmax(x: Any, k: int, *, finished: Any = None, context: Context | Group | None = None,
                            out: Three | None = None) -> Three:
    """The k largest of softmax(x) over the last axis and their places; returns (y, expert_idx, row_idx).

    x: (…, E), T. finished: (…), bool; such tokens get expert E. y: (…, k) of T; expert_idx, row_idx: (…, k) of int32, where
    row_idx[i, j] = j·n + i is what moe_init_routing takes. Equal ones: the lower index first. Errors: ValueError.
    """
    if out is None:
        shape = (*shape_of("x", x)[:-1], k)
        out = empty(shape, x), empty(shape, x, "int32"), empty(shape, x, "int32")
    y, expert_idx, row_idx = out
    _core.moe_gating_topk_softmax(handle_of(context), x, finished, k, y, expert_idx, row_idx)
    return out


class MoeGatingTopkSoftmax(Planned, function=moe_gating_topk_softmax):
    pass


def moe_init_routing(x: Any, row_idx: Any, expert_idx: Any, *, active_num: int | None = None,
                     context: Context | Group | None = None, out: Three | None = None) -> Three:
    """Rows of tokens in the order of their experts; returns (expanded_x, expanded_row_idx, expanded_expert_idx).

    x: (n, H), T. row_idx, expert_idx: (n, K) of int32, from the gating. active_num: how many tokens' worth of rows are
    copied; None: all n. expanded_x: (min(active_num, n)·K, H) of T; the others (n·K) of int32. Errors: ValueError.
    """
    shape, places = shape_of("x", x), shape_of("row_idx", row_idx)
    if active_num is None:
        active_num = (*shape, 0)[0]
    if out is None:
        n, k = (*places, 0, 0)[:2]
        rows = min(max(active_num, 0), n) * k
        out = empty((rows, *shape[1:]), x), empty((n * k,), x, "int32"), empty((n * k,), x, "int32")
    expanded_x, expanded_row_idx, expanded_expert_idx = out
    _core.moe_init_routing(handle_of(context), x, row_idx, expert_idx, active_num, expanded_x, expanded_row_idx,
                           expanded_expert_idx)
    return out


class MoeInitRouting(Planned, function=moe_init_routing):
    pass


def moe_finalize_routing(expanded_x: Any, expanded_row_idx: Any, *, x1: Any = None, x2: Any = None, bias: Any = None,
                         scales: Any = None, expert_idx: Any = None, order: str = "column_major",
                         context: Context | Group | None = None, out: Any = None) -> Any:
    """out[i] = x1[i] + x2[i] + Σ over j of scales[i, j]·(expanded_x[r] + bias[expert_idx[i, j]]); returns it, (n, H) of T.

    r = expanded_row_idx[j·n + i], or [i·K + j] with order "row_major"; -1: no row. expanded_x: (rows, H) or (E, C, H), T.
    expanded_row_idx: (n·K) of int32. x1, x2: (n, H), T. bias: (E, H), T, with expert_idx (n, K) of int32. scales: (n, K) of
    T, with bfloat16 also float32; None: all 1. n is that of the operands with an axis for it, or of out; with none K is 1.
    out may be x1 or x2. Errors: ValueError.
    """
    if out is None:
        rows = next((each for each in (x1, x2, scales, expert_idx) if each is not None), expanded_row_idx)
        n = (*shape_of("rows", rows), 0)[0]
        out = empty((n, *shape_of("expanded_x", expanded_x)[-1:]), expanded_x)
    _core.moe_finalize_routing(handle_of(context), expanded_x, expanded_row_idx, x1, x2, bias, scales, expert_idx, order,
                               out)
    return out


class MoeFinalizeRouting(Planned, function=moe_finalize_routing):
    pass
