# SPDX-License-Identifier: Apache-2.0
"""Preparing weights and scales, once: packed weights, FRACTAL_NZ images, packed dequantisation scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft import _core
from weft._core import FractalNz, PackedWeight
from weft.arrays import empty, shape_of
from weft.group import Context, Group, handle_of

for _class in (FractalNz, PackedWeight):
    _class.__module__ = "weft"


def pack_fractal_nz(matrix: Any, *, context: Context | Group | None = None, out: FractalNz | None = None) -> FractalNz:
    """The FRACTAL_NZ image of a (rows, columns) matrix of float16, bfloat16 or int8, any strides; padding is zero.

    out: a FractalNz to write to; it may be transposed. Errors: ValueError.
    """
    if out is None:
        rows, columns = (*shape_of("matrix", matrix), 0, 0)[:2]
        tile = 32 if str(matrix.dtype).endswith("int8") else 16
        size = -(-rows // 16) * 16 * (-(-columns // tile) * tile)
        out = FractalNz(empty((size,), matrix), rows, columns)
    _core.pack_fractal_nz(handle_of(context), matrix, out)
    return out


def unpack_fractal_nz(image: FractalNz, *, context: Context | Group | None = None, out: Any = None) -> Any:
    """The matrix of an image, row-major, or written to `out`. Errors: ValueError."""
    if out is None:
        out = empty(tuple(image.shape), image.storage)
    _core.unpack_fractal_nz(handle_of(context), image, out)
    return out


def trans_quant_param(scale: Any, offset: Any = None, *, round: str = "truncate", out: Any = None) -> Any:
    """Packs dequantisation scales (t) or (1, t) of float32 as int8·int8 products with float16 results take them: int64.

    Ten bits of the mantissa remain: round is "truncate" or "nearest". offset: like scale, or one element. out: int64 or
    uint64. Errors: ValueError. The bits: docs/ops/weights.md.
    """
    if out is None:
        shape, other = shape_of("scale", scale), () if offset is None else shape_of("offset", offset)
        out = empty(max(shape, other, key=lambda each: (each or (0,))[-1]), scale, "int64")
    _core.trans_quant_param(scale, offset, out, round)
    return out


def calculate_matmul_weight_size(dims: Sequence[int], dtype: str) -> int:
    """Elements of the FRACTAL_NZ image of a weight of that shape (2 to 6 axes) and dtype (a name). Errors: ValueError."""
    return _core.calculate_matmul_weight_size([int(dim) for dim in dims], dtype)
