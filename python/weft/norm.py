# SPDX-License-Identifier: Apache-2.0
"""add_rmsnorm: residual add and RMSNorm; no communication."""

from __future__ import annotations

from typing import Any

from weft import _core
from weft.arrays import empty, shape_of
from weft.group import Context, Group, handle_of
from weft.planned import Planned


def add_rmsnorm(x1: Any, x2: Any, gamma: Any, *, epsilon: float = 1e-6, context: Context | Group | None = None,
                out: tuple[Any, Any, Any] | None = None) -> tuple[Any, Any, Any]:
    """x = x1 + x2, y = RMSNorm(x)·gamma over the axes of gamma; returns (y, rstd, x).

    x1, x2: one shape of 1 to 8 axes, float16, bfloat16 or float32. gamma: their trailing axes, the same dtype. rstd is
    float32, of x1's shape with 1 for every normalised axis. out: (y, rstd, x) to write to; rstd may be None, x may be x1 or
    x2. Errors: ValueError. Rounding: docs/ops/add_rmsnorm.md.
    """
    if out is None:
        shape, axes = shape_of("x1", x1), len(shape_of("gamma", gamma))
        rstd_shape = shape[:max(len(shape) - axes, 0)] + (1,) * min(axes, len(shape))
        out = empty(shape, x1), empty(rstd_shape, x1, "float32"), empty(shape, x1)
    y, rstd, x = out
    _core.add_rmsnorm(handle_of(context), x1, x2, gamma, epsilon, y, rstd, x)
    return out


class AddRmsNorm(Planned, function=add_rmsnorm):
    pass
