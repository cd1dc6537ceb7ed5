# SPDX-License-Identifier: Apache-2.0
"""Shapes and dtypes of the operators' results, for tracing (torch.compile, torch.export) and for tensors on "meta".

They check nothing: what is wrong with a call is said by the operator itself, in one place, when it runs.
"""

import torch

from weft import _torch


def columns(weight):
    """The extent of a weight's last axis, counted in weights: uint8 holds two int4 along the axis with stride 1."""
    in_bytes = weight.dtype == torch.uint8 and weight.stride(-1) == 1
    return weight.shape[-1] * 2 if in_bytes else weight.shape[-1]


def result_dtype(x, dequant_scale):
    """That of x, or with int8 the one that its dequantisation scale asks for."""
    if x.dtype != torch.int8:
        return x.dtype
    bfloat16 = dequant_scale is not None and dequant_scale.dtype == torch.bfloat16
    return torch.bfloat16 if bfloat16 else torch.float16


@torch.library.register_fake("weft::matmul_allreduce")
def _(x1, x2, group, *, dequant_scale=None, **_):
    return x1.new_empty((*x1.shape[:-1], columns(x2)), dtype=result_dtype(x1, dequant_scale))


@torch.library.register_fake("weft::matmul_allreduce.out")
def _(x1, x2, group, *, out, **_):
    return out


@torch.library.register_fake("weft::matmul_allreduce_add_rmsnorm")
def _(x1, x2, residual, gamma, group, *, dequant_scale=None, **_):
    dtype = result_dtype(x1, dequant_scale)
    return x1.new_empty(residual.shape, dtype=dtype), x1.new_empty(residual.shape, dtype=dtype)


@torch.library.register_fake("weft::matmul_allreduce_add_rmsnorm_")
def _(x1, x2, residual, gamma, group, *, dequant_scale=None, **_):
    return x1.new_empty(residual.shape, dtype=result_dtype(x1, dequant_scale))


@torch.library.register_fake("weft::matmul_allreduce_add_rmsnorm.out")
def _(x1, x2, residual, gamma, group, *, y, norm_out, **_):
    return y, norm_out


@torch.library.register_fake("weft::matmul_reduce_scatter")
def _(x1, x2, group, *, dtype=None, **_):
    rows = x1.shape[0] // _torch.group_ranks(group)
    return x1.new_empty((rows, columns(x2)), dtype=dtype or result_dtype(x1, None))


@torch.library.register_fake("weft::matmul_reduce_scatter.out")
def _(x1, x2, group, *, out, **_):
    return out


@torch.library.register_fake("weft::add_rmsnorm")
def _(x1, x2, gamma, epsilon=1e-6):
    kept = x1.dim() - gamma.dim()
    return (x1.new_empty(x1.shape), x1.new_empty((*x1.shape[:kept], *[1] * gamma.dim()), dtype=torch.float32),
            x1.new_empty(x1.shape))


@torch.library.register_fake("weft::add_rmsnorm.out")
def _(x1, x2, gamma, epsilon=1e-6, *, y, rstd, x):
    return y, rstd, x
