# SPDX-License-Identifier: Apache-2.0
"""Making results that are of the kind of the operands: numpy arrays, or tensors of PyTorch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def empty(shape: tuple[int, ...], like: Any, dtype: str | None = None) -> Any:
    """An array of that shape and dtype (a name; None: that of `like`), a tensor if `like` is one, else numpy's."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(like, torch.Tensor):
        return torch.empty(shape, dtype=like.dtype if dtype is None else getattr(torch, dtype))
    return np.empty(shape, dtype=like.dtype if dtype is None else dtype)
