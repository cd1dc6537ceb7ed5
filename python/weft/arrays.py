# SPDX-License-Identifier: Apache-2.0
"""Making results that are of the kind of the operands: numpy arrays, or tensors of PyTorch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from weft import _core


def empty(shape: tuple[int, ...], like: Any, dtype: str | None = None) -> Any:
    """An array of that shape and dtype (a name; None: that of `like`), a tensor if `like` is one, else numpy's."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):
        return like.new_empty(shape, dtype=None if dtype is None else getattr(torch, dtype))
    return np.empty(shape, dtype=like.dtype if dtype is None else dtype)


def shape_of(name: str, array: Any) -> tuple[int, ...]:
    try:
        return tuple(array.shape)
    except AttributeError:
        what = type(array).__name__
        raise TypeError(f"{name} must be an array of numpy or of anything with DLPack, but is a {what}") from None


def columns_of(weight: Any) -> int:
    """n of a (k, n) weight: an array, in which uint8 is two int4, a FractalNz or a PackedWeight."""
    return _core.columns(weight)


def is_bfloat16(array: Any) -> bool:
    return array is not None and str(getattr(array, "dtype", "")).endswith("bfloat16")


def empty_product(shape: tuple[int, ...], x: Any, scale: Any) -> Any:
    """For a product of x: of x's dtype, or with an int8 x, which has a `scale`, bfloat16 if that is, else float16."""
    if scale is None:
        return empty(shape, x)
    return empty(shape, scale) if is_bfloat16(scale) else empty(shape, x, "float16")
