# SPDX-License-Identifier: Apache-2.0
"""Tokens to the ranks of their experts and back: expert parallelism. T is float16 or bfloat16."""

from __future__ import annotations

from typing import Any, NamedTuple

from weft import _core
from weft.arrays import empty, shape_of
from weft.group import Group, member
from weft.planned import Planned

Three = tuple[Any, Any, Any]


class MoeExperts(NamedTuple):
    """Which experts a mixture has and where they live; the same on every rank. Ids: routed, zero, copy, const experts.

    Routed experts live on the ranks without a shared one, in order. Shared experts get every token; they live on the first
    shared_expert_rank_num ranks; shared_tokens says which of the ranks with one gets a token: "by_source" or "by_slice".
    """

    moe_expert_num: int
    shared_expert_num: int = 0
    shared_expert_rank_num: int = 0
    shared_tokens: str = "by_source"
    zero_expert_num: int = 0
    copy_expert_num: int = 0
    const_expert_num: int = 0

    def local(self, rank: int, ranks: int) -> int:
        """Experts whose rows that rank gets."""
        return _core.local_expert_num(*self, rank, ranks)


class MoeDispatchCounts(NamedTuple):
    """Of this rank's expert_ids: rows that appear at experts, active entries of no expert, entries named twice."""

    rows_sent: int = 0
    out_of_range: int = 0
    doubled: int = 0


class Dispatched(NamedTuple):
    """What moe_dispatch returns and moe_combine takes: its outputs, then what the combine needs of its operands."""

    expand_x: Any  #: (A, H), rows of the first local expert, of the next one, …; what lies behind the last is not written
    dynamic_scales: Any  #: (A) of float32 with int8 rows, else None
    assist_info_for_combine: Any
    expert_token_nums: Any  #: (local experts) of int64
    ep_recv_counts: Any
    tp_recv_counts: Any
    expert_ids: Any
    x_active_mask: Any
    experts: MoeExperts
    tp_group: Group | None
    counts: MoeDispatchCounts

    @property
    def rows(self) -> int:
        """Rows of expand_x that were written."""
        if self.tp_group is not None:
            return int(self.tp_recv_counts.sum())
        return int(self.ep_recv_counts[-1])


def _outputs(x: Any, tokens: int, k: int, experts: MoeExperts, group: Group, tp: int, max_rows: int | None,
             int8_rows: bool) -> tuple[Any, ...]:
    """Room for max_rows; None: for the most that can come if no rank has more tokens than this one."""
    local = experts.local(group.rank, group.ranks)
    if max_rows is None:
        shared = group.rank < experts.shared_expert_rank_num
        max_rows = tokens * group.ranks * (1 if shared else min(k, local)) * tp
    return (empty((max_rows, *x.shape[1:]), x, "int8" if int8_rows else None),
            empty((max_rows,), x, "float32") if int8_rows else None,
            empty((3 * max_rows,), x, "int32"),
            empty((local,), x, "int64"),
            empty((group.ranks * local * tp,), x, "int32"),
            empty((2,), x, "int32") if tp == 2 else None)


def moe_dispatch(x: Any, expert_ids: Any, *, group: Group, experts: MoeExperts | int, scales: Any = None,
                 x_active_mask: Any = None, tokens_are_ends: bool = False, int8_rows: bool = False,
                 tp_group: Group | None = None, max_rows: int | None = None, out: Dispatched | None = None) -> Dispatched:
    """Every token to the ranks of its experts; a rank gets its rows in the order of its experts. Collective.

    x: (Bs, H), T. expert_ids: (Bs, K) of int32. experts: a MoeExperts, or the number of routed ones. int8_rows: rows are
    quantised, each with a scale of its own, after a product with scales (shared + routed experts, H) of float32 if given.
    x_active_mask: (Bs) or (Bs, K) of bool. tokens_are_ends: expert_token_nums are the row after the last of each expert.
    tp_group: the two ranks that hold the same experts. max_rows: that expand_x has room for; None: what suffices if no rank
    has more tokens than this one. out: an earlier result, whose arrays are written again.

    Errors: ValueError (also, on all ranks, if max_rows of one are too few), Mismatch, Timeout, PeerLost. More:
    docs/ops/moe_dispatch.md.
    """
    handle = member(group)
    if isinstance(experts, int):
        experts = MoeExperts(experts)
    if out is None:
        tokens, k = (*shape_of("expert_ids", expert_ids), 0, 0)[:2]
        shape_of("x", x)
        outputs = _outputs(x, tokens, k, experts, group, 1 if tp_group is None else 2, max_rows, int8_rows)
    else:
        outputs = out[:6]
    counts = _core.moe_dispatch(handle, x, expert_ids, scales, x_active_mask, *experts, tokens_are_ends, *outputs,
                                member(tp_group, "tp_group"))
    return Dispatched(*outputs, expert_ids, x_active_mask, experts, tp_group, MoeDispatchCounts(*counts or ()))


class MoeDispatch(Planned, function=moe_dispatch):
    pass


def _combine_operands(expand_x: Any, sent: Dispatched, expert_scales: Any, *rest: Any) -> tuple[Any, ...]:
    return (expand_x, sent.expert_ids, sent.assist_info_for_combine, sent.ep_recv_counts, expert_scales, sent.tp_recv_counts,
            sent.x_active_mask, *rest[:-2], *sent.experts, *rest[-2:])


def moe_combine(expand_x: Any, dispatched: Dispatched, expert_scales: Any, *, group: Group, shared_expert_x: Any = None,
                ori_x: Any = None, const_expert_alpha_1: Any = None, const_expert_alpha_2: Any = None,
                const_expert_v: Any = None, int8_communication: bool = False, out: Any = None) -> Any:
    """x[t] = Σ over k of expert_scales[t, k]·(what expert k made of token t) + shared experts. Collective; returns x.

    expand_x: (A, H), T, what the experts made of the rows of dispatched.expand_x, each in its place. expert_scales: (Bs, K)
    of float32. shared_expert_x: (Bs, H), T, added. ori_x: (Bs, H), T, the tokens, for copy and const experts; these have
    const_expert_alpha_1, _2: (const_expert_num[, H]) and const_expert_v: (const_expert_num, H), T. int8_communication: rows
    travel as int8. out: (Bs, H). Rows of tokens that are not active are not written.

    Errors: ValueError, Mismatch, Timeout, PeerLost. More: docs/ops/moe_combine.md.
    """
    if out is None:
        out = empty((*dispatched.expert_ids.shape[:1], *shape_of("expand_x", expand_x)[1:]), expand_x)
    operands = _combine_operands(expand_x, dispatched, expert_scales, shared_expert_x, ori_x, const_expert_alpha_1,
                                 const_expert_alpha_2, const_expert_v, int8_communication, out)
    _core.moe_combine(member(group), *operands, member(dispatched.tp_group, "tp_group"))
    return out


class MoeCombine(Planned, function=moe_combine):
    pass


def moe_combine_add_rmsnorm(expand_x: Any, dispatched: Dispatched, expert_scales: Any, residual_x: Any, gamma: Any, *,
                            group: Group, norm_eps: float = 1e-6, shared_expert_x: Any = None, ori_x: Any = None,
                            const_expert_alpha_1: Any = None, const_expert_alpha_2: Any = None, const_expert_v: Any = None,
                            int8_communication: bool = False, out: Three | None = None) -> Three:
    """x = moe_combine(…) + residual_x, y = RMSNorm(x)·gamma. Collective; returns (y, rstd, x).

    residual_x: (Bs, H) or three axes with Bs rows, T. gamma: (H), T. y, x: like residual_x; rstd: float32, of that shape
    with 1 for H. out: (y, rstd, x); x may be residual_x. The others and errors: moe_combine. More:
    docs/ops/moe_combine_add_rmsnorm.md.
    """
    if out is None:
        shape = shape_of("residual_x", residual_x)
        out = empty(shape, residual_x), empty((*shape[:-1], 1), residual_x, "float32"), empty(shape, residual_x)
    y, rstd, x = out
    operands = _combine_operands(expand_x, dispatched, expert_scales, shared_expert_x, ori_x, const_expert_alpha_1,
                                 const_expert_alpha_2, const_expert_v, int8_communication, x)
    _core.moe_combine_add_rmsnorm(member(group), *operands, residual_x, gamma, norm_eps, y, rstd,
                                  member(dispatched.tp_group, "tp_group"))
    return out


class MoeCombineAddRmsNorm(Planned, function=moe_combine_add_rmsnorm):
    pass
