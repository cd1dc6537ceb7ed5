# SPDX-License-Identifier: Apache-2.0
"""ffn and the operators of a mixture of experts under torch.ops.weft, against PyTorch in double precision."""

import pytest

torch = pytest.importorskip("torch")

from threads import run_threads  # noqa: E402

import weft  # noqa: E402
import weft.torch  # noqa: E402

ops = torch.ops.weft
U = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def ffn_reference(x, w1, w2):
    """silu, with a bound for the operator: a is rounded once, sums are fp32, y is rounded."""
    h, off = x.double() @ w1.double(), 2.0**-18 * (x.double().abs() @ w1.double().abs())
    a = torch.nn.functional.silu(h)
    a_off = 1.1 * off + 2 * U[x.dtype] * a.abs() + 2.0**-20
    y = a @ w2.double()
    return y, 1.01 * (a_off @ w2.double().abs() + U[x.dtype] * y.abs()) + 2.0**-18 * (a.abs() @ w2.double().abs())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ffn(dtype):
    x, w1, w2 = torch.randn(2, 3, 16).to(dtype), (torch.randn(24, 16) / 4).to(dtype).t(), (torch.randn(24, 12) / 5).to(dtype)
    y = weft.torch.ffn(x, w1, w2, activation="silu")
    want, bound = ffn_reference(x, w1, w2)
    assert y.shape == (2, 3, 12) and y.dtype == dtype
    assert ((y.double() - want).abs() <= bound).all()
    out = torch.empty_like(y)
    assert weft.torch.ffn(x, w1, w2, activation="silu", out=out) is out and torch.equal(out, y)


def test_ffn_experts_and_rows_of_no_one():
    dtype = torch.bfloat16
    x, w1, w2 = torch.randn(7, 8).to(dtype), torch.randn(3, 8, 10).to(dtype), torch.randn(3, 10, 6).to(dtype)
    y = ops.ffn(x, w1, w2, expert_tokens=torch.tensor([2, 0, 3]), activation="silu")
    assert torch.equal(y, ops.ffn(x, w1, w2, expert_tokens=torch.tensor([2, 2, 5]), tokens_are_ends=True, activation="silu"))
    assert torch.equal(y[:2], ops.ffn(x[:2], w1[0], w2[0], activation="silu"))
    assert torch.equal(y[2:5], ops.ffn(x[2:5], w1[2], w2[2], activation="silu"))
    assert (y[5:] == 0).all()


def test_ffn_int8():
    x, w1, w2 = (torch.randint(-8, 8, shape, dtype=torch.int8) for shape in ((3, 8), (8, 6), (6, 4)))
    ones = torch.ones(6, dtype=torch.bfloat16), torch.ones(4, dtype=torch.bfloat16)
    y = ops.ffn(x, w1, w2, scale=torch.tensor([0.25]), offset=torch.tensor([1.0]), deq_scale1=ones[0], deq_scale2=ones[1],
                activation="relu")
    a = (torch.relu(x.float() @ w1.float()) * 0.25 + 1).round().clamp(-128, 127)
    assert torch.equal(y, (a @ w2.float()).bfloat16())


def test_ffn_attributes():
    x = torch.randn(2, 4).half()
    with pytest.raises(ValueError, match="activation is 'tanh' but must be relu"):
        ops.ffn(x, x.t(), x, activation="tanh")
    with pytest.raises(ValueError, match="inner_precise is 2"):
        ops.ffn(x, x.t(), x, inner_precise=2)


def test_routing_without_ranks():
    x, logits, k = torch.randn(5, 8), torch.randn(5, 4), 2
    weights, experts, rows = weft.torch.moe_gating_topk_softmax(logits, k)
    want = torch.softmax(logits.double(), -1).topk(k)
    assert torch.equal(experts.long(), want.indices)
    assert torch.allclose(weights.double(), want.values, rtol=1e-6)
    expanded, expanded_rows, expanded_experts = weft.torch.moe_init_routing(x, rows, experts, 5)
    assert torch.equal(expanded_experts.sort().values, expanded_experts)
    assert torch.equal(expanded, x[torch.argsort(experts.flatten(), stable=True) // k])
    back = weft.torch.moe_finalize_routing(expanded, expanded_rows, scales=weights)
    assert torch.allclose(back, x * weights.sum(-1, keepdim=True), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2])
def test_layer(ranks):
    """Gate, dispatch, experts, combine: what one process makes of the same tokens."""
    tokens, hidden, inner, experts, k, dtype = 6, 16, 8, 4, 2, torch.bfloat16
    x, logits = torch.randn(ranks, tokens, hidden).to(dtype), torch.randn(ranks, tokens, experts)
    up, down = (torch.randn(experts, hidden, inner) / 4).to(dtype), (torch.randn(experts, inner, hidden) / 3).to(dtype)
    residual, gamma = torch.randn(tokens, hidden).to(dtype), torch.randn(hidden).to(dtype)

    def rank_main(group):
        rank = group.rank
        mine = slice(rank * experts // ranks, (rank + 1) * experts // ranks)
        weights, ids, _ = weft.torch.moe_gating_topk_softmax(logits[rank], k)
        sent = weft.torch.moe_dispatch(x[rank], ids, group=group, experts=experts)
        made = weft.torch.ffn(sent.expand_x, up[mine], down[mine], expert_tokens=sent.expert_token_nums, activation="silu")
        combined = weft.torch.moe_combine(made, sent, weights, group=group)
        y, rstd, both = weft.torch.moe_combine_add_rmsnorm(made, sent, weights, residual, gamma, group=group)
        return ids, weights, combined, y, rstd, both

    for rank, (ids, weights, combined, y, rstd, both) in enumerate(run_threads(ranks, rank_main)):
        want, bound = torch.zeros(tokens, hidden).double(), torch.zeros(tokens, hidden).double()
        for j in range(k):
            made, off = zip(*(ffn_reference(x[rank, t:t + 1], up[e], down[e]) for t, e in enumerate(ids[:, j].tolist())))
            want += weights[:, j:j + 1] * torch.cat(made)
            bound += weights[:, j:j + 1] * torch.cat(off)
        bound = bound + 2.0**-7 * want.abs()
        assert ((combined.double() - want).abs() <= bound).all()
        assert ((both.double() - want - residual.double()).abs() <= bound + 2.0**-7 * (want + residual.double()).abs()).all()
        assert rstd.shape == (tokens, 1)
        norm = both.double() * rstd.double() * gamma.double()  # of x before it is rounded
        assert ((y.double() - norm).abs() <= 2.0**-6 * norm.abs() + 1e-6).all()


def test_int8_rows_and_masks():
    x, ids = torch.randn(3, 8).half(), torch.tensor([[0], [1], [0]], dtype=torch.int32)
    mask = torch.tensor([True, True, False])
    sent = weft.torch.moe_dispatch(x, ids, group="weft.self", experts=2, x_active_mask=mask, int8_rows=True)
    assert sent.expand_x.dtype == torch.int8 and sent.dynamic_scales.shape == (3,)
    assert sent.expert_token_nums.tolist() == [1, 1]
    back = (sent.expand_x * sent.dynamic_scales[:, None]).half()
    x_back = weft.torch.moe_combine(back, sent, torch.ones(3, 1), group="weft.self")
    assert ((x_back - x)[:2].abs() <= x[:2].abs().amax(-1, keepdim=True) / 127).all()
    assert (x_back[2] == 0).all()


def test_shared_and_zero_experts():
    x, ids = torch.randn(3, 8).half(), torch.tensor([[0], [1], [0]], dtype=torch.int32)  # 1 is the zero expert
    experts = weft.MoeExperts(1, shared_expert_num=1, shared_expert_rank_num=1, zero_expert_num=1)

    def rank_main(group):  # rank 0 has the shared expert, rank 1 the routed one
        sent = weft.torch.moe_dispatch(x, ids, group=group, experts=experts)
        back = weft.torch.moe_combine(sent.expand_x * (1 + group.rank), sent, torch.ones(3, 1), group=group)
        return sent.expert_token_nums.tolist(), back

    (shared, back), (routed, _) = run_threads(2, rank_main)
    assert (shared, routed) == ([6], [4])
    assert torch.equal(back, x * torch.tensor([[3], [1], [3]]).half())


def test_too_many_rows():
    x, ids = torch.randn(3, 8).half(), torch.zeros(3, 1, dtype=torch.int32)

    def rank_main(group):
        with pytest.raises(ValueError, match="rows"):
            ops.moe_dispatch(x, ids, group.key, moe_expert_num=2, max_rows=5)
        return weft.torch.moe_dispatch(x, ids, group=group, experts=2, max_rows=6).expert_token_nums.item()

    assert run_threads(2, rank_main) == [6, 0]


def test_bad_experts():
    x, ids = torch.randn(3, 8).half(), torch.zeros(3, 1, dtype=torch.int32)
    with pytest.raises(ValueError, match="moe_expert_num"):
        ops.moe_dispatch(x, ids, "weft.self", moe_expert_num=0)
    with pytest.raises(ValueError, match="shared"):
        ops.moe_dispatch(x, ids, "weft.self", moe_expert_num=2, shared_expert_num=1, shared_expert_rank_num=1)
    with pytest.raises(ValueError, match="shared_tokens is 'x'"):
        ops.moe_dispatch(x, ids, "weft.self", moe_expert_num=2, shared_tokens="x")
