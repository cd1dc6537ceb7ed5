# SPDX-License-Identifier: Apache-2.0
"""Shapes and dtypes of the operators' results, for tracing (torch.compile, torch.export) and for tensors on "meta".

They check nothing: what is wrong with a call is said by the operator itself, in one place, when it runs.
"""

from collections.abc import Callable
from typing import Any

import torch

from weft import _torch


def _fake(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            torch.library.register_fake(f"weft::{name}", _on_one_device(name, function))
        return function

    return register


def _on_one_device(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:  # PyTorch comes here, too, when one operand alone is on "meta"
        devices = {value.device.type for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)}
        if len(devices) > 1:
            raise ValueError(f"{name}: the operands are on {' and '.join(sorted(devices))}, but must be on one device")
        return function(*args, **kwargs)

    return checked


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


@_fake("add_rmsnorm.out", "ffn.out", "matmul_allreduce.out", "matmul_allreduce_add_rmsnorm.out", "matmul_reduce_scatter.out")
def _(*_, **__):
    return None


@_fake("matmul_allreduce")
def _(x1, x2, group, *, dequant_scale=None, **_):
    return x1.new_empty((*x1.shape[:-1], columns(x2)), dtype=result_dtype(x1, dequant_scale))


@_fake("matmul_allreduce.packed")
def _(x1, packed_x2, group, *, dequant_scale=None, **_):
    return x1.new_empty((*x1.shape[:-1], _torch.packed_columns(packed_x2)), dtype=result_dtype(x1, dequant_scale))


@_fake("matmul_allreduce_add_rmsnorm", "matmul_allreduce_add_rmsnorm.packed")
def _(x1, x2, residual, gamma, group, *, dequant_scale=None, **_):
    dtype = result_dtype(x1, dequant_scale)
    return x1.new_empty(residual.shape, dtype=dtype), x1.new_empty(residual.shape, dtype=dtype)


@_fake("matmul_allreduce_add_rmsnorm_")
def _(x1, x2, residual, gamma, group, *, dequant_scale=None, **_):
    return x1.new_empty(residual.shape, dtype=result_dtype(x1, dequant_scale))


@_fake("matmul_reduce_scatter")
def _(x1, x2, group, *, dtype=None, **_):
    rows = x1.shape[0] // _torch.group_ranks(group)
    return x1.new_empty((rows, columns(x2)), dtype=dtype or result_dtype(x1, None))


@_fake("matmul_reduce_scatter.packed")
def _(x1, packed_x2, group, *, dtype=None, **_):
    rows = x1.shape[0] // _torch.group_ranks(group)
    return x1.new_empty((rows, _torch.packed_columns(packed_x2)), dtype=dtype or result_dtype(x1, None))


@_fake("add_rmsnorm")
def _(x1, x2, gamma, epsilon=1e-6):
    kept = x1.dim() - gamma.dim()
    return (x1.new_empty(x1.shape), x1.new_empty((*x1.shape[:kept], *[1] * gamma.dim()), dtype=torch.float32),
            x1.new_empty(x1.shape))


@_fake("all_gather")
def _(x, group):
    return x.new_empty((x.shape[0] * _torch.group_ranks(group), *x.shape[1:]))


@_fake("reduce_scatter")
def _(x, group):
    return x.new_empty((x.shape[0] // _torch.group_ranks(group), *x.shape[1:]))


@_fake("ffn")
def _(x, weight1, weight2, *, deq_scale1=None, **_):
    return x.new_empty((*x.shape[:-1], columns(weight2)), dtype=result_dtype(x, deq_scale1))


@_fake("ffn.packed")
def _(x, packed_weight1, packed_weight2, *, deq_scale1=None, **_):
    return x.new_empty((*x.shape[:-1], _torch.packed_columns(packed_weight2)), dtype=result_dtype(x, deq_scale1))


@_fake("moe_gating_topk_softmax")
def _(x, k, *, finished=None):
    shape = (*x.shape[:-1], k)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32), x.new_empty(shape, dtype=torch.int32)


@_fake("moe_init_routing")
def _(x, row_idx, expert_idx, active_num):
    experts = expert_idx.shape[1]
    pairs = x.shape[0] * experts
    return (x.new_empty((torch.sym_min(active_num, x.shape[0]) * experts, x.shape[1])),
            x.new_empty((pairs,), dtype=torch.int32), x.new_empty((pairs,), dtype=torch.int32))


@_fake("moe_finalize_routing")
def _(expanded_x, expanded_row_idx, *, x1=None, x2=None, bias=None, scales=None, expert_idx=None, **_):
    like = next((rows for rows in (x1, x2, scales, expert_idx) if rows is not None), expanded_row_idx)
    return expanded_x.new_empty((like.shape[0], expanded_x.shape[-1]))


@_fake("moe_dispatch")
def _(x, expert_ids, group, *, moe_expert_num, int8_rows=False, max_rows=0, shared_expert_num=0, shared_expert_rank_num=0,
      tp_group=None, **_):
    ranks = _torch.group_ranks(group)
    local = _torch.local_expert_num(group, moe_expert_num, shared_expert_num, shared_expert_rank_num)
    pair = 1 if tp_group is None else 2
    rows = max_rows if max_rows > 0 else ranks * expert_ids.shape[0] * torch.sym_min(local, expert_ids.shape[1]) * pair
    return (x.new_empty((rows, x.shape[-1]), dtype=torch.int8 if int8_rows else x.dtype),
            x.new_empty((rows if int8_rows else 0,), dtype=torch.float32),
            x.new_empty((3 * rows,), dtype=torch.int32),
            x.new_empty((local,), dtype=torch.int64),
            x.new_empty((ranks * local * pair,), dtype=torch.int32),
            x.new_empty((0 if tp_group is None else 2,), dtype=torch.int32))


@_fake("moe_combine")
def _(expand_x, expert_ids, *_, **__):
    return expand_x.new_empty((expert_ids.shape[0], expand_x.shape[-1]))


@_fake("moe_combine_add_rmsnorm")
def _(expand_x, expert_ids, assist_info_for_combine, ep_send_counts, expert_scales, residual_x, *_, **__):
    return (expand_x.new_empty(residual_x.shape), expand_x.new_empty((*residual_x.shape[:-1], 1), dtype=torch.float32),
            expand_x.new_empty(residual_x.shape))
