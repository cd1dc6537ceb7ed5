# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts over the ranks of a group, as functions over torch.ops.weft.moe_*: gate, dispatch, ffn, combine.

T is float16 or bfloat16, Bs this rank's tokens, H their length, K the experts of each, E all routed experts, L those of
this rank. `experts` is the same on every rank: E, or a weft.MoeExperts if there are shared, zero, copy or const experts.
Errors as for the other operators; no gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from weft.moe import MoeExperts
from weft.torch.groups import AnyGroup, group_key

_ops = torch.ops.weft


class Dispatched(NamedTuple):
    """What moe_dispatch returns and the combine takes: its outputs, then what the combine needs of its operands."""

    expand_x: Tensor  # (A, H): rows in the order of this rank's experts; those behind the last one hold anything
    dynamic_scales: Tensor  # (A) of float32 with int8 rows, else (0)
    assist_info_for_combine: Tensor  # (3·A) of int32
    expert_token_nums: Tensor  # (L) of int64: expert_tokens of ffn
    ep_recv_counts: Tensor  # (ranks·L) of int32
    tp_recv_counts: Tensor  # (2) of int32 with tp_group, else (0)
    expert_ids: Tensor
    x_active_mask: Tensor | None
    experts: dict[str, Any]  # by the names of weft.MoeExperts, and tp_group


def _experts(experts: MoeExperts | int, tp_group: AnyGroup | None) -> dict[str, Any]:
    fields = {"moe_expert_num": experts} if isinstance(experts, int) else experts._asdict()
    return {**fields, "tp_group": None if tp_group is None else group_key(tp_group)}


def moe_gating_topk_softmax(x: Tensor, k: int, *, finished: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest of softmax(x) of each row, rising index among equals: (y, expert_idx, row_idx), each (…, k).

    x: (…, E) of float16, bfloat16 or float32, 2 to 8 axes. finished: x's axes but the last of bool: expert_idx is E there.
    """
    return _ops.moe_gating_topk_softmax(x, k, finished=finished)


def moe_init_routing(x: Tensor, row_idx: Tensor, expert_idx: Tensor, active_num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in the order of their experts: (expanded_x, expanded_row_idx, expanded_expert_idx).

    x: (n, H). row_idx, expert_idx: (n, K) of int32, from the gating. active_num: how many tokens' worth of rows are copied.
    """
    return _ops.moe_init_routing(x, row_idx, expert_idx, active_num)


def moe_finalize_routing(expanded_x: Tensor, expanded_row_idx: Tensor, *, x1: Tensor | None = None, x2: Tensor | None = None,
                         bias: Tensor | None = None, scales: Tensor | None = None, expert_idx: Tensor | None = None,
                         order: str = "column_major") -> Tensor:
    """x1 + x2 + Σ over a token's experts of scales · (its row + bias): (n, H). order: "column_major" as moe_init_routing
    gives expanded_row_idx, or "row_major". n is taken from x1, x2, scales or expert_idx; without any, K is 1."""
    return _ops.moe_finalize_routing(expanded_x, expanded_row_idx, x1=x1, x2=x2, bias=bias, scales=scales,
                                     expert_idx=expert_idx, order=order)


def moe_dispatch(x: Tensor, expert_ids: Tensor, *, group: AnyGroup, experts: MoeExperts | int, scales: Tensor | None = None,
                 x_active_mask: Tensor | None = None, tokens_are_ends: bool = False, int8_rows: bool = False,
                 tp_group: AnyGroup | None = None, max_rows: int | None = None) -> Dispatched:
    """Every token to the ranks of its experts; returns what this rank's experts got. Collective.

    x: (Bs, H) of T. expert_ids: (Bs, K) of int32. int8_rows: rows travel and arrive as int8, with dynamic_scales. tp_group:
    the pair of ranks that hold the same experts. max_rows: A, the rows that this rank has room for; None: enough for every
    routing if no rank has more tokens than this one (ranks · Bs · min(L, K)). Too many rows for some rank: ValueError on
    every rank, and the group stays usable.
    """
    fields = _experts(experts, tp_group)
    sent = _ops.moe_dispatch(x, expert_ids, group_key(group), **fields, scales=scales, x_active_mask=x_active_mask,
                             tokens_are_ends=tokens_are_ends, int8_rows=int8_rows, max_rows=max_rows or 0)
    return Dispatched(*sent, expert_ids, x_active_mask, fields)


def moe_combine(expand_x: Tensor, dispatched: Dispatched, expert_scales: Tensor, *, group: AnyGroup,
                **options: Any) -> Tensor:
    """Σ over a token's experts of expert_scales · what came back from them, + shared_expert_x: (Bs, H). Collective.

    expand_x: (A, H) of T, what the experts made of dispatched.expand_x, each row in its place. expert_scales: (Bs, K) of
    float32. Options: shared_expert_x and ori_x (Bs, H), const_expert_alpha_1, const_expert_alpha_2, const_expert_v,
    int8_communication. Rows of tokens that are not active are zero.
    """
    operands = _operands(expand_x, dispatched, expert_scales)
    return _ops.moe_combine(*operands, group_key(group), **_rest(dispatched), **options)


def moe_combine_add_rmsnorm(expand_x: Tensor, dispatched: Dispatched, expert_scales: Tensor, residual_x: Tensor,
                            gamma: Tensor, *, group: AnyGroup, norm_eps: float = 1e-6,
                            **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x = moe_combine(…) + residual_x, y = RMSNorm(x)·gamma: (y, rstd, x). Collective.

    residual_x: (Bs, H), or three axes with Bs rows, of T; y and x have its shape. gamma: (H) of T. rstd: float32, with 1 for
    the last axis. Options: those of moe_combine.
    """
    return _ops.moe_combine_add_rmsnorm(*_operands(expand_x, dispatched, expert_scales), residual_x, gamma, group_key(group),
                                        norm_eps=norm_eps, **_rest(dispatched), **options)


def _operands(expand_x: Tensor, sent: Dispatched, expert_scales: Tensor) -> tuple[Tensor, ...]:
    return expand_x, sent.expert_ids, sent.assist_info_for_combine, sent.ep_recv_counts, expert_scales


def _rest(sent: Dispatched) -> dict[str, Any]:
    tp_send_counts = None if sent.experts["tp_group"] is None else sent.tp_recv_counts
    return {**sent.experts, "x_active_mask": sent.x_active_mask, "tp_send_counts": tp_send_counts}
