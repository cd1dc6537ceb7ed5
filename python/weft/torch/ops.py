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

from weft.torch.groups import AnyGroup, group_key
from weft.torch.packed import PackedWeight

_ops = torch.ops.weft


def _not_packed(**operands: Any) -> None:
    for name, value in operands.items():
        if value is not None:
            raise ValueError(f"{name} is given, but the weight is a PackedWeight; pass the weight itself")


def matmul_allreduce(x1: Tensor, x2: Tensor | PackedWeight, *, group: AnyGroup, bias: Tensor | None = None,
                     x3: Tensor | None = None, dequant_scale: Tensor | None = None, pertoken_scale: Tensor | None = None,
                     antiquant_scale: Tensor | None = None, antiquant_offset: Tensor | None = None,
                     antiquant_group_size: int = 0, comm_quant_scale_1: Tensor | None = None,
                     comm_quant_scale_2: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Σ over ranks, in rank order, of (dequant(x1·x2 + bias) + x3): all of it on every rank, the same bits on each.

    x1: (m, k) or (b, s, k) of T or int8. x2: (k, n) of T, int8 or int4. bias: (n). x3: like the result. Scales:
    docs/ops/matmul_allreduce.md; int8 x1 gives float16, with a bfloat16 dequant_scale bfloat16. Gradients: x1, x2, bias and
    x3 of 16 bits; the gradient of the result must be the same on every rank, as it is when each computes the same loss.
    """
    operands = dict(bias=bias, x3=x3, dequant_scale=dequant_scale, pertoken_scale=pertoken_scale,
                    comm_quant_scale_1=comm_quant_scale_1, comm_quant_scale_2=comm_quant_scale_2)
    if isinstance(x2, PackedWeight):
        _not_packed(antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset, out=out)
        return _ops.matmul_allreduce.packed(x1, x2.handle, group_key(group), **operands)
    operands.update(antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset,
                    antiquant_group_size=antiquant_group_size)
    if out is None:
        return _ops.matmul_allreduce(x1, x2, group_key(group), **operands)
    _ops.matmul_allreduce.out(x1, x2, group_key(group), **operands, out=out)
    return out


def matmul_allreduce_add_rmsnorm(x1: Tensor, x2: Tensor | PackedWeight, residual: Tensor, gamma: Tensor, *,
                                 group: AnyGroup, epsilon: float = 1e-6, bias: Tensor | None = None,
                                 dequant_scale: Tensor | None = None, antiquant_scale: Tensor | None = None,
                                 antiquant_offset: Tensor | None = None, antiquant_group_size: int = 0,
                                 out: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """y = Σ over ranks of dequant(x1·x2 + bias) + residual; norm_out = RMSNorm(y)·gamma. Returns (y, norm_out).

    residual: (m, n) or (b, s, n) of T, this rank's own, added once. gamma: (n) of T. out: (y, norm_out) to write to; y may
    be residual. Gradients as for matmul_allreduce, and of residual and gamma.
    """
    operands = dict(epsilon=epsilon, bias=bias, dequant_scale=dequant_scale)
    if isinstance(x2, PackedWeight):
        _not_packed(antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset, out=out)
        return _ops.matmul_allreduce_add_rmsnorm.packed(x1, x2.handle, residual, gamma, group_key(group), **operands)
    operands.update(antiquant_scale=antiquant_scale, antiquant_offset=antiquant_offset,
                    antiquant_group_size=antiquant_group_size)
    if out is None:
        return _ops.matmul_allreduce_add_rmsnorm(x1, x2, residual, gamma, group_key(group), **operands)
    y, norm_out = out
    _ops.matmul_allreduce_add_rmsnorm.out(x1, x2, residual, gamma, group_key(group), **operands, y=y, norm_out=norm_out)
    return out


def matmul_allreduce_add_rmsnorm_(x1: Tensor, x2: Tensor, residual: Tensor, gamma: Tensor, *, group: AnyGroup,
                                  **operands: Any) -> Tensor:
    """matmul_allreduce_add_rmsnorm that writes y to residual and returns norm_out. No gradients."""
    return _ops.matmul_allreduce_add_rmsnorm_(x1, x2, residual, gamma, group_key(group), **operands)


def matmul_reduce_scatter(x1: Tensor, x2: Tensor | PackedWeight, *, group: AnyGroup,
                          bias: Tensor | None = None, x1_scale: Tensor | None = None, x2_scale: Tensor | None = None,
                          dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """This rank's m / ranks rows of Σ over ranks of dequant(x1·x2 + bias): the bits that matmul_allreduce gives them.

    x1: (m, k) of T or int8, m a multiple of the ranks. x2: (k, n). dtype: of the result with int8 operands, float16 unless
    given. Gradients: x1, x2 and bias of 16 bits.
    """
    operands = dict(bias=bias, x1_scale=x1_scale, x2_scale=x2_scale)
    if isinstance(x2, PackedWeight):
        _not_packed(out=out)
        return _ops.matmul_reduce_scatter.packed(x1, x2.handle, group_key(group), **operands, dtype=dtype)
    if out is None:
        return _ops.matmul_reduce_scatter(x1, x2, group_key(group), **operands, dtype=dtype)
    _ops.matmul_reduce_scatter.out(x1, x2, group_key(group), **operands, out=out)
    return out


def add_rmsnorm(x1: Tensor, x2: Tensor, gamma: Tensor, epsilon: float = 1e-6, *,
                out: tuple[Tensor, Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """x = x1 + x2, y = RMSNorm(x)·gamma over the axes of gamma; returns (y, rstd, x). No communication.

    x1, x2: one shape, float16, bfloat16 or float32. gamma: their trailing axes. rstd: float32. out: (y, rstd, x) to write
    to; x may be x1 or x2. Gradients: all three operands.
    """
    if out is None:
        return _ops.add_rmsnorm(x1, x2, gamma, epsilon)
    y, rstd, x = out
    _ops.add_rmsnorm.out(x1, x2, gamma, epsilon, y=y, rstd=rstd, x=x)
    return out


def all_gather(x: Tensor, *, group: AnyGroup) -> Tensor:
    """The x of all ranks, which have one shape, one after the other along the first axis. Gradient: reduce_scatter."""
    return _ops.all_gather(x, group_key(group))


def reduce_scatter(x: Tensor, *, group: AnyGroup) -> Tensor:
    """This rank's 1 / ranks of the rows (first axis) of Σ over ranks, in rank order, of x. Gradient: all_gather."""
    return _ops.reduce_scatter(x, group_key(group))


def ffn(x: Tensor, weight1: Tensor | PackedWeight, weight2: Tensor | PackedWeight, *,
        expert_tokens: Tensor | None = None, tokens_are_ends: bool = False, bias1: Tensor | None = None,
        bias2: Tensor | None = None, scale: Tensor | None = None, offset: Tensor | None = None,
        deq_scale1: Tensor | None = None, deq_scale2: Tensor | None = None, antiquant_scale1: Tensor | None = None,
        antiquant_scale2: Tensor | None = None, antiquant_offset1: Tensor | None = None,
        antiquant_offset2: Tensor | None = None, activation: str = "gelu", inner_precise: int = 0,
        gate_is_left: bool = False, out: Tensor | None = None) -> Tensor:
    """f(x·W1 + b1)·W2 + b2; no communication. f: relu, silu, gelu, fastgelu, or with a gate reglu, swiglu, geglu.

    x: (…, K1) of T or int8. weight1, weight2: ([E,] K1, N1), ([E,] K2, N2) of T, int8 or int4. expert_tokens: (E) of int64,
    rows of each expert; rows of no expert are zero in the result, and not written with out. gate_is_left: as in
    `a, b = h.chunk(2, -1); f(a) * b`; else the right half is the gate. Scales: docs/ops/ffn.md. Gradients: 16 bits without
    experts.
    """
    operands = dict(expert_tokens=expert_tokens, tokens_are_ends=tokens_are_ends, bias1=bias1, bias2=bias2, scale=scale,
                    offset=offset, deq_scale1=deq_scale1, deq_scale2=deq_scale2, activation=activation,
                    inner_precise=inner_precise, gate_is_left=gate_is_left)
    restoring = dict(antiquant_scale1=antiquant_scale1, antiquant_scale2=antiquant_scale2,
                     antiquant_offset1=antiquant_offset1, antiquant_offset2=antiquant_offset2)
    if isinstance(weight1, PackedWeight) and isinstance(weight2, PackedWeight):
        _not_packed(**restoring, out=out)
        return _ops.ffn.packed(x, weight1.handle, weight2.handle, **operands)
    if isinstance(weight1, PackedWeight) or isinstance(weight2, PackedWeight):
        raise ValueError("ffn: one of weight1 and weight2 is a PackedWeight; pack both or neither")
    if out is None:
        return _ops.ffn(x, weight1, weight2, **operands, **restoring)
    _ops.ffn.out(x, weight1, weight2, **operands, **restoring, out=out)
    return out
