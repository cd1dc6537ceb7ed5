# SPDX-License-Identifier: Apache-2.0
"""A product whose sum over the ranks travels while it is computed: row-parallel layers of tensor-parallel models.

T is float16 or bfloat16, k this rank's share of the reduction. x2 (k, n) may be row-major, the transposed view of a dense
(n, k) weight (w.T), a FractalNz or a PackedWeight; uint8 holds two int4 a byte, the lower nibble first, along the axis with
stride 1. Every rank gets the same bits, from run to run, for any number of threads (docs/determinism.md).
"""

from __future__ import annotations

from typing import Any

from weft import _core
from weft.arrays import columns_of, empty, empty_product, shape_of
from weft.group import Group, member
from weft.planned import Planned


def matmul_allreduce(x1: Any, x2: Any, *, group: Group, bias: Any = None, x3: Any = None, dequant_scale: Any = None,
                     pertoken_scale: Any = None, antiquant_scale: Any = None, antiquant_offset: Any = None,
                     antiquant_group_size: int = 0, comm_quant_scale_1: Any = None, comm_quant_scale_2: Any = None,
                     out: Any = None) -> Any:
    """output = Σ over ranks of (dequant(x1·x2 + bias) + x3), on every rank. Collective; returns output.

    x1: (m, k) or (b, s, k), T or int8. x2: (k, n), T, int8 or int4. bias: (n), T, or int32 with int8·int8; added on every
    rank, as is x3, T, like output. int8·int8: dequant_scale (1), (n) or (1, n) of uint64 or int64 (weft.trans_quant_param; T
    = float16), of float32 (T = float16, with pertoken_scale) or of bfloat16 (T); pertoken_scale (m) of float32. T·int8 or
    int4: antiquant_scale and antiquant_offset of T, (1), (n), (1, n) or (ceil(k / antiquant_group_size), n).
    comm_quant_scale_1, _2: T, (n) or (1, n), with int8·int8: partial sums travel as int8. out: what to write to, x1's shape
    with n; may be x3.

    Errors: ValueError, NotImplementedError, Mismatch, Timeout, PeerLost. Rounding: docs/ops/matmul_allreduce.md.
    """
    if out is None:
        out = empty_product((*shape_of("x1", x1)[:-1], columns_of(x2)), x1, dequant_scale)
    _core.matmul_allreduce(member(group), x1, x2, bias, x3, dequant_scale, pertoken_scale, antiquant_scale, antiquant_offset,
                           antiquant_group_size, comm_quant_scale_1, comm_quant_scale_2, out)
    return out


class MatmulAllReduce(Planned, function=matmul_allreduce):
    pass


def matmul_allreduce_add_rmsnorm(x1: Any, x2: Any, residual: Any, gamma: Any, *, group: Group, epsilon: float = 1e-6,
                                 bias: Any = None, dequant_scale: Any = None, antiquant_scale: Any = None,
                                 antiquant_offset: Any = None, antiquant_group_size: int = 0,
                                 out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """y = Σ over ranks of dequant(x1·x2 + bias) + residual, norm_out = RMSNorm(y)·gamma. Collective; returns (y, norm_out).

    residual: (b, s, n) or (m, n), T; this rank's own, added after the sum. gamma: (n), T. Scales of int8·int8: uint64 or
    int64 (T = float16) or bfloat16 (T). The others are as for matmul_allreduce. out: (y, norm_out), like residual; y may be
    residual.

    Errors: those of matmul_allreduce. Rounding: docs/ops/matmul_allreduce_add_rmsnorm.md.
    """
    if out is None:
        shape = shape_of("residual", residual)
        out = empty(shape, residual), empty(shape, residual)
    y, norm_out = out
    _core.matmul_allreduce_add_rmsnorm(member(group), x1, x2, bias, dequant_scale, antiquant_scale, antiquant_offset,
                                       antiquant_group_size, residual, gamma, epsilon, y, norm_out)
    return out


class MatmulAllReduceAddRmsNorm(Planned, function=matmul_allreduce_add_rmsnorm):
    pass


def matmul_allreduce_add_rmsnorm_(x1: Any, x2: Any, residual: Any, gamma: Any, *, group: Group, epsilon: float = 1e-6,
                                  bias: Any = None, dequant_scale: Any = None, antiquant_scale: Any = None,
                                  antiquant_offset: Any = None, antiquant_group_size: int = 0, out: Any = None) -> Any:
    """matmul_allreduce_add_rmsnorm in place: y is written to residual. Returns norm_out, which is out if given."""
    if out is None:
        out = empty(shape_of("residual", residual), residual)
    _core.matmul_allreduce_add_rmsnorm(member(group), x1, x2, bias, dequant_scale, antiquant_scale, antiquant_offset,
                                       antiquant_group_size, residual, gamma, epsilon, residual, out)
    return out


def matmul_reduce_scatter(x1: Any, x2: Any, *, group: Group, bias: Any = None, x1_scale: Any = None, x2_scale: Any = None,
                          out: Any = None) -> Any:
    """This rank's m / ranks rows of Σ over ranks of x1_scale · x2_scale · (x1·x2 + bias). Collective; returns them.

    x1: (m, k), T or int8. x2: (k, n), like x1. bias: (n), T, or int32 with int8·int8. int8·int8: x2_scale (1), (n) or (1, n)
    of float32, or of uint64 or int64 (T = float16), and x1_scale (m) or (m, 1) of float32. out: (m / ranks, n); with
    int8·int8 it says what T is, which is float16 without it.

    Errors: those of matmul_allreduce. Rounding: docs/ops/matmul_reduce_scatter.md.
    """
    handle = member(group)
    if out is None:
        rows = (*shape_of("x1", x1), 0)[0] // group.ranks
        out = empty_product((rows, columns_of(x2)), x1, x2_scale)
    _core.matmul_reduce_scatter(handle, x1, x2, bias, x1_scale, x2_scale, out)
    return out


class MatmulReduceScatter(Planned, function=matmul_reduce_scatter):
    pass
