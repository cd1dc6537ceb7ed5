# SPDX-License-Identifier: Apache-2.0
"""The operators as functions: torch.ops.weft.* with group= that may be more than a key, and out=.

T is float16 or bfloat16, m the rows of x1, k this rank's share of the reduction. Operands may have any strides that
docs/ops/ allows; weights of dtype uint8 are int4, two in a byte, the lower index in the low nibble, along the axis with
stride 1. Errors: ValueError (this call; the other ranks are not harmed by those found before anything is sent),
NotImplementedError, MemoryError, weft.Mismatch, weft.Timeout, weft.PeerLost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from weft.group import Group
from weft.torch.groups import group_key

_ops = torch.ops.weft


def matmul_allreduce(x1: Tensor, x2: Tensor, *, group: str | Group, bias: Tensor | None = None, x3: Tensor | None = None,
                     dequant_scale: Tensor | None = None, pertoken_scale: Tensor | None = None,
                     antiquant_scale: Tensor | None = None, antiquant_offset: Tensor | None = None,
                     antiquant_group_size: int = 0, comm_quant_scale_1: Tensor | None = None,
                     comm_quant_scale_2: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Σ over ranks, in rank order, of (dequant(x1·x2 + bias) + x3): all of it on every rank, the same bits on each.

    x1: (m, k) or (b, s, k) of T or int8. x2: (k, n) of T, int8 or int4. bias: (n). x3: like the result. Scales:
    docs/ops/matmul_allreduce.md; int8 x1 gives float16, with a bfloat16 dequant_scale bfloat16. Gradients: x1, x2, bias and
    x3 of 16 bits; the gradient of the result must be the same on every rank, as it is when each computes the same loss.
    """
    operands = dict(bias=bias, x3=x3, dequant_scale=dequant_scale, pertoken_scale=pertoken_scale,
                    antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset,
                    antiquant_group_size=antiquant_group_size, comm_quant_scale_1=comm_quant_scale_1,
                    comm_quant_scale_2=comm_quant_scale_2)
    if out is None:
        return _ops.matmul_allreduce(x1, x2, group_key(group), **operands)
    return _ops.matmul_allreduce.out(x1, x2, group_key(group), **operands, out=out)


def matmul_allreduce_add_rmsnorm(x1: Tensor, x2: Tensor, residual: Tensor, gamma: Tensor, *, group: str | Group,
                                 epsilon: float = 1e-6, bias: Tensor | None = None, dequant_scale: Tensor | None = None,
                                 antiquant_scale: Tensor | None = None, antiquant_offset: Tensor | None = None,
                                 antiquant_group_size: int = 0,
                                 out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """y = Σ over ranks of dequant(x1·x2 + bias) + residual; norm_out = RMSNorm(y)·gamma. Returns (y, norm_out).

    residual: (m, n) or (b, s, n) of T, this rank's own, added once. gamma: (n) of T. out: (y, norm_out) to write to; y may be
    residual. Gradients as for matmul_allreduce, and of residual and gamma.
    """
    operands = dict(epsilon=epsilon, bias=bias, dequant_scale=dequant_scale, antiquant_scale=antiquant_scale,
                    antiquant_offset=antiquant_offset, antiquant_group_size=antiquant_group_size)
    if out is None:
        return _ops.matmul_allreduce_add_rmsnorm(x1, x2, residual, gamma, group_key(group), **operands)
    y, norm_out = out
    return _ops.matmul_allreduce_add_rmsnorm.out(x1, x2, residual, gamma, group_key(group), **operands, y=y,
                                                 norm_out=norm_out)


def matmul_allreduce_add_rmsnorm_(x1: Tensor, x2: Tensor, residual: Tensor, gamma: Tensor, *, group: str | Group,
                                  **operands: Any) -> Tensor:
    """matmul_allreduce_add_rmsnorm that writes y to residual and returns norm_out. No gradients."""
    return _ops.matmul_allreduce_add_rmsnorm_(x1, x2, residual, gamma, group_key(group), **operands)


def matmul_reduce_scatter(x1: Tensor, x2: Tensor, *, group: str | Group, bias: Tensor | None = None,
                          x1_scale: Tensor | None = None, x2_scale: Tensor | None = None,
                          dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """This rank's m / ranks rows of Σ over ranks of dequant(x1·x2 + bias): the bits that matmul_allreduce gives them.

    x1: (m, k) of T or int8, m a multiple of the ranks. x2: (k, n). dtype: of the result with int8 operands, float16 unless
    given. Gradients: x1, x2 and bias of 16 bits.
    """
    operands = dict(bias=bias, x1_scale=x1_scale, x2_scale=x2_scale)
    if out is None:
        return _ops.matmul_reduce_scatter(x1, x2, group_key(group), **operands, dtype=dtype)
    return _ops.matmul_reduce_scatter.out(x1, x2, group_key(group), **operands, out=out)


def add_rmsnorm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6, *,
                out: tuple[Tensor, Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """x = x1 + x2, y = RMSNorm(x)·gamma over the axes of gamma; returns (y, rstd, x). No communication.

    x1, x2: one shape, float16, bfloat16 or float32. gamma: their trailing axes. rstd: float32. out: (y, rstd, x) to write to;
    x may be x1 or x2. Gradients: all three operands.
    """
    if out is None:
        return _ops.add_rmsnorm(x1, x2, gamma, epsilon)
    y, rstd, x = out
    return _ops.add_rmsnorm.out(x1, x2, gamma, epsilon, y=y, rstd=rstd, x=x)
