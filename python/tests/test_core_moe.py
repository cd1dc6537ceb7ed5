# SPDX-License-Identifier: Apache-2.0
"""Dispatch and combine: every operand and option arrives where it should."""

import threading

import numpy as np
import pytest
from numbers_of import Random, assert_close
from threads import run_threads

import weft

U = 2.0**-11  # of float16
TOKENS, HIDDEN, K = 4, 32, 2
EXPERTS = weft.MoeExperts(4)


def tokens_of(rank, experts=EXPERTS.moe_expert_num, extra=0):
    random = Random(100 + rank)
    ids = np.stack([random.generator.permutation(experts + extra)[:K] for _ in range(TOKENS)]).astype(np.int32)
    return random.floats(TOKENS, HIDDEN), ids, random.positive(TOKENS, K, dtype=np.float32)


def expert_of_rows(sent, group):
    """The id of the routed expert of each row."""
    local = len(sent.expert_token_nums)
    return np.repeat(np.arange(local) + local * group.rank, sent.expert_token_nums)


@pytest.mark.parametrize("ranks", [1, 2])
def test_rows_and_their_way_back(ranks):
    def layer(group):
        x, ids, weights = tokens_of(group.rank)
        sent = weft.moe_dispatch(x, ids, group=group, experts=4)
        made = sent.expand_x.copy()
        made[:sent.rows] *= (1 + expert_of_rows(sent, group))[:, None].astype(np.float16)
        return sent, weft.moe_combine(made, sent, weights, group=group)

    results = run_threads(ranks, layer)
    sources = [tokens_of(rank) for rank in range(ranks)]
    want = [[x[t] for e in range(rank * 4 // ranks, (rank + 1) * 4 // ranks) for x, ids, _ in sources
             for t, k in np.argwhere(ids == e)] for rank in range(ranks)]
    for (sent, combined), rows, (x, ids, weights) in zip(results, want, sources):
        assert sent.rows == len(rows)
        assert sent.counts == (TOKENS * K, 0, 0)
        np.testing.assert_array_equal(sent.expand_x[:sent.rows], rows)
        terms = weights[..., None].astype(np.float64) * np.float16(x[:, None] * (1 + ids)[..., None])
        assert_close(combined, terms.sum(axis=1), U * np.abs(terms.sum(axis=1)) + 1e-6)


def test_int8_rows_and_scales():
    scales = Random(3).positive(4, HIDDEN, dtype=np.float32)

    def dispatch(group):
        x, ids, _ = tokens_of(group.rank)
        plain = weft.moe_dispatch(x, ids, group=group, experts=EXPERTS)
        return plain, weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, scales=scales, int8_rows=True), \
            expert_of_rows(plain, group)

    for plain, int8, experts in run_threads(2, dispatch):
        assert int8.expand_x.dtype == np.int8 and int8.dynamic_scales.dtype == np.float32
        v = plain.expand_x[:plain.rows].astype(np.float32) * scales[experts]
        restored = int8.expand_x[:plain.rows] * int8.dynamic_scales[:plain.rows, None].astype(np.float64)
        assert_close(restored, v, 0.501 * int8.dynamic_scales[:plain.rows, None])
        assert plain.dynamic_scales is None


def test_masks_ends_rooms_and_reuse():
    mask = np.array([1, 0, 1, 1], bool)

    def dispatch(group):
        x, ids, weights = tokens_of(group.rank)
        each = np.ones((TOKENS, K), bool)
        each[1] = False
        ends = weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, x_active_mask=each, tokens_are_ends=True)
        first = weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, x_active_mask=mask, max_rows=12)
        out = np.full((TOKENS, HIDDEN), 7, np.float16)
        weft.moe_combine(first.expand_x, first, weights, group=group, out=out)
        again = weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, out=ends)
        return ends.counts, ends.rows, first, out, again.expand_x is ends.expand_x, again

    for counts, _, first, out, same, again in run_threads(2, dispatch):
        assert counts.rows_sent == first.counts.rows_sent == 3 * K
        assert len(first.expand_x) == 12
        assert np.all(out[3] == 7) and np.any(out[2] != 7)  # three tokens are active
        assert same and again.counts.rows_sent == TOKENS * K
        assert again.rows == again.expert_token_nums.sum()


def test_tokens_are_ends():
    def dispatch(group):
        x, ids, _ = tokens_of(group.rank)
        nums = [weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, tokens_are_ends=ends).expert_token_nums
                for ends in (False, True)]
        np.testing.assert_array_equal(np.cumsum(nums[0]), nums[1])

    run_threads(2, dispatch)


def test_too_few_rows_keeps_the_group():
    def dispatch(group):
        x, ids, _ = tokens_of(group.rank)
        with pytest.raises(ValueError, match="moe_dispatch"):
            weft.moe_dispatch(x, ids, group=group, experts=EXPERTS, max_rows=1)
        return weft.moe_dispatch(x, ids, group=group, experts=EXPERTS).counts.rows_sent

    assert run_threads(2, dispatch) == [TOKENS * K] * 2


def test_special_experts_and_combine_options():
    experts = weft.MoeExperts(4, zero_expert_num=1, copy_expert_num=1, const_expert_num=1)
    random = Random(5)
    alpha_1, alpha_2, v = random.floats(1), random.floats(1), random.floats(1, HIDDEN)
    shared = [random.floats(TOKENS, HIDDEN) for _ in range(2)]

    def layer(group):
        x, ids, weights = tokens_of(group.rank, extra=3)
        sent = weft.moe_dispatch(x, ids, group=group, experts=experts)
        keywords = {"shared_expert_x": shared[group.rank], "ori_x": x, "const_expert_alpha_1": alpha_1,
                    "const_expert_alpha_2": alpha_2, "const_expert_v": v}
        return (weft.moe_combine(sent.expand_x, sent, weights, group=group, **keywords),
                weft.moe_combine(sent.expand_x, sent, weights, group=group, int8_communication=True, **keywords))

    for rank, (exact, int8) in enumerate(run_threads(2, layer)):
        x, ids, weights = tokens_of(rank, extra=3)
        assert np.any(ids >= 4)
        returned = np.repeat(x[:, None].astype(np.float64), K, axis=1)  # experts and copy experts return the token
        returned[ids == 4] = 0
        returned[ids == 6] = (alpha_1.astype(np.float64) * returned + alpha_2.astype(np.float64) * v)[ids == 6]
        want = (weights[..., None] * returned).sum(axis=1) + shared[rank]
        assert_close(exact, want, U * np.abs(want) + 1e-6)
        assert np.any(int8 != exact)
        assert_close(int8, want, 2 * K / 127)


def test_shared_experts():
    experts = weft.MoeExperts(2, shared_expert_num=1, shared_expert_rank_num=1)
    assert [experts.local(rank, 3) for rank in range(3)] == [1, 1, 1]

    def layer(group):
        x, ids, weights = tokens_of(group.rank, 2)
        sent = weft.moe_dispatch(x, ids, group=group, experts=experts)
        return sent.rows, weft.moe_combine(sent.expand_x, sent, weights, group=group)

    results = run_threads(3, layer)
    assert results[0][0] == 3 * TOKENS
    for rank, (_, combined) in enumerate(results):
        x, _, weights = tokens_of(rank, 2)
        want = x.astype(np.float64) * (1 + weights.sum(axis=1, keepdims=True))
        assert_close(combined, want, U * np.abs(want) + 1e-6)


def test_shared_by_slice():
    experts = weft.MoeExperts(1, shared_expert_num=1, shared_expert_rank_num=2, shared_tokens="by_slice")

    def dispatch(group):
        x, _, _ = tokens_of(group.rank)
        return weft.moe_dispatch(x, np.zeros((TOKENS, 1), np.int32), group=group, experts=experts).rows

    assert run_threads(3, dispatch) == [TOKENS + TOKENS // 2, TOKENS + TOKENS // 2, 3 * TOKENS]


def test_tp_pair():
    pairs = [weft.Group.local(2, threads=1, timeout=20) for _ in range(2)]
    names, results = ["first of the pairs", "second of the pairs"], {}

    def layer(group):
        x, ids, weights = tokens_of(group.rank, 2)
        tp_group = pairs[group.rank][names.index(group.name)]
        sent = weft.moe_dispatch(x, ids, group=group, experts=2, tp_group=tp_group)
        return sent.rows, weft.moe_combine(sent.expand_x, sent, weights, group=group), x, weights

    threads = [threading.Thread(target=lambda name=name: results.update({name: run_threads(2, layer, name=name)}))
               for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for rank in range(2):
        for name in results:
            rows, combined, x, weights = results[name][rank]
            want = 2 * x.astype(np.float64) * weights.sum(axis=1, keepdims=True)  # each of the pair returns the row
            assert rows == 2 * sum(np.sum(tokens_of(r, 2)[1] == rank) for r in range(2))
            assert_close(combined, want, 2 * U * np.abs(want) + 1e-6)


def test_combine_add_rmsnorm():
    gamma = Random(6).floats(HIDDEN)

    def layer(group):
        x, ids, weights = tokens_of(group.rank)
        residual = Random(7 + group.rank).floats(TOKENS, 1, HIDDEN)
        sent = weft.moe_dispatch(x, ids, group=group, experts=EXPERTS)
        combined = weft.moe_combine(sent.expand_x, sent, weights, group=group)
        return combined, residual, weft.moe_combine_add_rmsnorm(sent.expand_x, sent, weights, residual, gamma, group=group,
                                                                norm_eps=0.25)

    for combined, residual, (y, rstd, x) in run_threads(2, layer):
        f = combined.astype(np.float64)[:, None] + residual
        assert x.shape == y.shape == f.shape and rstd.shape == (TOKENS, 1, 1)
        rounding = U * np.abs(combined.astype(np.float64))[:, None]  # which f does not have
        assert_close(x, f, rounding + U * np.abs(f))
        factor = 1 / np.sqrt((f * f).mean(axis=-1, keepdims=True) + 0.25)
        assert_close(rstd, factor, 1.01 * U * factor)
        want = f * factor * gamma
        assert_close(y, want, rounding * factor * np.abs(gamma) + 3.1 * U * np.abs(want) + 1e-6)
