# SPDX-License-Identifier: Apache-2.0
"""Weights that are packed once, for calls that repeat them."""

from __future__ import annotations

import weakref

from torch import Tensor

from weft import _torch
from weft.torch.groups import AnyGroup, group_key


class PackedWeight:
    """A copy of a weight in the order of the kernels, which calls with many rows otherwise make each time.

    weight: (k, n), or (experts, k, n) for ffn, of float16, bfloat16 or int8 (for int8·int8). group: whose threads and
    instruction sets are used; None: PyTorch's threads. It does not follow later changes of the weight, and has no gradient.
    The operators take its `handle`, an integer, in their form `.packed`; it is valid as long as this object lives. Errors:
    ValueError, NotImplementedError, MemoryError.
    """

    def __init__(self, weight: Tensor, *, group: AnyGroup | None = None):
        self.handle: int = _torch.pack_weight(weight.detach(), None if group is None else group_key(group))
        self.shape, self.dtype = tuple(weight.shape), weight.dtype
        weakref.finalize(self, _torch.release_weight, self.handle)

    def __repr__(self) -> str:
        return f"<weft.torch.PackedWeight {self.dtype} {self.shape}>"
