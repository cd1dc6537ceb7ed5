# SPDX-License-Identifier: Apache-2.0
"""Gradients of the operators against double precision, with bounds from the number of roundings; ranks are threads."""

import pytest

torch = pytest.importorskip("torch")

from threads import run_threads  # noqa: E402

import weft  # noqa: E402
import weft.torch  # noqa: E402

ops = torch.ops.weft
SELF = "weft.self"
U = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}
U32 = 2.0**-24


class Random:
    def __init__(self, seed, dtype):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def __call__(self, *shape, scale=1.0):
        return (torch.randn(*shape, generator=self.generator) * scale).to(self.dtype)


def wanting(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def near(name, got, want, slack, dtype, extra=0):
    """One rounding to T of something that is off by no more than slack."""
    bound = 1.01 * (U[dtype] * want.abs() + (1 + U[dtype]) * slack) + 2.0**-24 + extra
    worst = ((got.double() - want).abs() / bound).max().item()
    assert got.dtype == dtype and worst <= 1, f"{name}: {worst:.3} times the bound"


def near_product(name, got, a, b, dtype):
    """a·b of exact operands, its k sums in fp32 in any order."""
    near(name, got, a @ b, 2 * a.shape[-1] * U32 * (a.abs() @ b.abs()), dtype)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matmul_allreduce(ranks, dtype):
    random = Random(ranks, dtype)
    k, n = 12, 20
    dy = random(2, 3, n)
    given = [(random(2, 3, k), random(k, n), random(n), random(2, 3, n)) for _ in range(ranks)]

    def rank_main(group):
        rank = group.rank
        x1, x2, bias, x3 = wanting(*given[rank])
        weft.torch.matmul_allreduce(x1, x2, group=group, bias=bias, x3=x3).backward(dy)
        return x1.grad, x2.grad, bias.grad, x3.grad

    rows = dy.double().flatten(0, 1)
    for (x1, x2, *_), (dx1, dx2, dbias, dx3) in zip(given, run_threads(ranks, rank_main)):
        near_product("x1", dx1.flatten(0, 1), rows, x2.double().t(), dtype)
        near_product("x2", dx2, x1.double().flatten(0, 1).t(), rows, dtype)
        near("bias", dbias, rows.sum(0), 12 * U32 * rows.abs().sum(0), dtype)
        assert torch.equal(dx3, dy)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_matmul_reduce_scatter(ranks):
    dtype, m, k, n = torch.bfloat16, 6, 10, 16
    random = Random(ranks, dtype)
    dy = random(m, n)
    given = [(random(m, k), random(n, k).t(), random(n)) for _ in range(ranks)]

    def rank_main(group):
        rank = group.rank
        x1, x2, bias = wanting(*given[rank])
        y = weft.torch.matmul_reduce_scatter(x1, x2, group=group, bias=bias)
        y.backward(dy.chunk(ranks)[rank])
        return x1.grad, x2.grad, bias.grad

    rows = dy.double()
    for (x1, x2, _), (dx1, dx2, dbias) in zip(given, run_threads(ranks, rank_main)):
        near_product("x1", dx1, rows, x2.double().t(), dtype)
        near_product("x2", dx2, x1.double().t(), rows, dtype)
        near("bias", dbias, rows.sum(0), 12 * U32 * rows.abs().sum(0), dtype)


def test_gather_and_scatter_are_each_others_gradient():
    given = [torch.randn(4, 3) for _ in range(2)]

    def rank_main(group):
        rank = group.rank
        whole, part = wanting(given[rank], given[rank])
        ops.reduce_scatter(whole, group.key).backward(given[rank][:2])
        ops.all_gather(part, group.key).backward(torch.cat(given))
        return whole.grad, part.grad

    for rank, (whole, part) in enumerate(run_threads(2, rank_main)):
        assert torch.equal(whole, torch.cat([given[0][:2], given[1][:2]]))
        assert torch.equal(part, 2 * given[rank])  # both ranks computed with the whole


def norm_reference(dy, drstd, dx, x, gamma, epsilon):
    """Gradients of x and gamma in double precision, by PyTorch's own autograd."""
    x, gamma = wanting(x.double(), gamma.double())
    axes = tuple(range(-gamma.dim(), 0))
    rstd = torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
    loss = (x * rstd * gamma * dy.double()).sum() + (rstd * drstd.double()).sum() + (x * dx.double()).sum()
    loss.backward()
    return x.grad, gamma.grad


def norm_slack(dy, drstd, dx, x, gamma, epsilon):
    """What the roundings of fp32 can do to the gradients of x and gamma."""
    n, x, dy, gamma = gamma.numel(), x.double(), dy.double().abs(), gamma.double().abs()
    axes = tuple(range(-gamma.dim(), 0))
    rstd = torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
    normed, roundings = (x * rstd).abs(), (2 * n + 16) * U32
    scaled = dy * gamma
    of_x = rstd * (scaled + normed * (scaled * normed).mean(axes, keepdim=True))
    of_x = of_x + drstd.double().abs() * rstd**3 * x.abs() / n
    of_gamma = (dy * normed).sum(tuple(range(x.dim() - gamma.dim())))
    return roundings * (3 * of_x + dx.double().abs()), (2 * x.shape[0] + 8) * U32 * of_gamma


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("axes", [1, 2])
def test_add_rmsnorm(dtype, axes):
    random = Random(axes, dtype)
    shape = (3, 5, 8)
    x1, x2, gamma = wanting(random(*shape), random(*shape), random(*shape[-axes:]))
    y, rstd, x = weft.torch.add_rmsnorm(x1, x2, gamma, 1e-5)
    dy, dx, drstd = random(*shape), random(*shape), torch.randn(rstd.shape)
    torch.autograd.backward((y, rstd, x), (dy, drstd, dx))
    want_x, want_gamma = norm_reference(dy, drstd, dx, x.detach(), gamma.detach(), 1e-5)
    slack_x, slack_gamma = norm_slack(dy, drstd, dx, x.detach(), gamma.detach(), 1e-5)
    assert torch.equal(x1.grad, x2.grad)
    near("x1", x1.grad, want_x, slack_x, dtype)
    near("gamma", gamma.grad, want_gamma, slack_gamma, dtype)


def test_add_rmsnorm_gradcheck():
    random = Random(3, torch.float32)
    operands = wanting(random(2, 6), random(2, 6), random(6))
    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(lambda *a: ops.add_rmsnorm(*a, 1e-2), operands, eps=4e-3, atol=4e-3, rtol=4e-3)


@pytest.mark.parametrize("ranks", [1, 2])
def test_matmul_allreduce_add_rmsnorm(ranks):
    dtype, m, k, n = torch.bfloat16, 4, 8, 16
    random = Random(ranks, dtype)
    residual, gamma, dy, dnorm = random(m, n), random(n), random(m, n), random(m, n)
    given = [(random(m, k), random(k, n)) for _ in range(ranks)]

    def rank_main(group):
        rank = group.rank
        operands = wanting(*given[rank], residual, gamma)
        y, norm = weft.torch.matmul_allreduce_add_rmsnorm(*operands, group=group, epsilon=1e-5)
        torch.autograd.backward((y, norm), (dy, dnorm))
        return y.detach(), [operand.grad for operand in operands]

    for (x1, x2), (y, (dx1, dx2, dresidual, dgamma)) in zip(given, run_threads(ranks, rank_main)):
        none = torch.zeros(m, 1)
        want, want_gamma = norm_reference(dnorm, none, dy, y, gamma, 1e-5)
        slack, slack_gamma = norm_slack(dnorm, none, dy, y, gamma, 1e-5)
        near("residual", dresidual, want, slack, dtype)
        near("gamma", dgamma, want_gamma, slack_gamma, dtype)
        near_product("x1", dx1, dresidual.double(), x2.double().t(), dtype)  # of the rounded gradient
        near_product("x2", dx2, x1.double().t(), dresidual.double(), dtype)


# Bounds of |f'| and |f''|; relu's is handled where v may be on either side of 0.
FIRST, SECOND = 1.2, {"relu": 0, "silu": 0.5, "gelu": 0.8, "fastgelu": 0.86}
BASE = {"reglu": "relu", "swiglu": "silu", "geglu": "gelu"}


def f_of(name, v):
    if name == "gelu":
        return torch.nn.functional.gelu(v, approximate="tanh")
    if name == "fastgelu":
        return v * torch.sigmoid(1.702 * v)
    return getattr(torch.nn.functional, name)(v)


def f_slope(name, v):
    v = v.detach().requires_grad_()
    return torch.autograd.grad(f_of(name, v).sum(), v)[0]


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "fastgelu", "reglu", "swiglu", "geglu"])
@pytest.mark.parametrize("dtype, gate_is_left", [(torch.float16, False), (torch.bfloat16, True)])
def test_ffn(activation, dtype, gate_is_left):
    random, base, gated = Random(5, dtype), BASE.get(activation, activation), activation in BASE
    k1, k2, n2 = 12, 10, 14
    operands = wanting(random(2, 3, k1), random(k1, k2 * (1 + gated), scale=k1**-0.5), random(k2, n2, scale=k2**-0.5),
                       random(k2 * (1 + gated)).float(), random(n2))
    x, w1, w2, b1, b2 = operands
    dy = random(2, 3, n2)
    weft.torch.ffn(x, w1, w2, bias1=b1, bias2=b2, activation=activation, gate_is_left=gate_is_left).backward(dy)

    # The same in double precision, and beside each value how far the operator's may be from it.
    u, rows, x_, w1_, w2_ = U[dtype], dy.double().flatten(0, 1), *(t.detach().double() for t in (x.flatten(0, 1), w1, w2))
    product = x_ @ w1_
    h = product + b1.detach().double()
    h_off = u * product.abs() + 64 * U32 * (x_.abs() @ w1_.abs() + h.abs())
    da = rows @ w2_.t()
    da_off = u * da.abs() + 64 * U32 * (rows.abs() @ w2_.abs().t())

    def through_f(v, v_off, upstream, upstream_off):
        slope = f_slope(base, v)
        slope_off = SECOND[base] * v_off + (v.abs() <= v_off) * (base == "relu") + 32 * U32
        f_off = FIRST * v_off + 32 * U32 * v.abs()
        return upstream * slope, (upstream.abs() + upstream_off) * slope_off + upstream_off * FIRST, f_of(base, v), f_off

    if gated:
        parts = list(zip(h.chunk(2, -1), h_off.chunk(2, -1)))
        (gate, gate_off), (value, value_off) = parts if gate_is_left else parts[::-1]
        upstream, upstream_off = da * value, da_off * (value.abs() + value_off) + da.abs() * value_off
        dgate, dgate_off, f, f_off = through_f(gate, gate_off, upstream, upstream_off)
        dvalue, dvalue_off = da * f, da_off * (f.abs() + f_off) + da.abs() * f_off
        a, a_off = value * f, value_off * (f.abs() + f_off) + value.abs() * f_off
        order = (lambda g, v: torch.cat((g, v), -1)) if gate_is_left else (lambda g, v: torch.cat((v, g), -1))
        dh, dh_off = order(dgate, dvalue), order(dgate_off, dvalue_off)
    else:
        dh, dh_off, a, a_off = through_f(h, h_off, da, da_off)
    half = 2.0**-25 if dtype == torch.float16 else 0  # subnormal
    dh16_off, a16_off = dh_off + 1.01 * u * (dh.abs() + dh_off) + half, a_off + 1.01 * u * (a.abs() + a_off) + half
    near("x", x.grad.flatten(0, 1), dh @ w1_.t(), 1.01 * dh16_off @ w1_.abs().t() + 1e-5 * dh.abs() @ w1_.abs().t(), dtype)
    near("weight1", w1.grad, x_.t() @ dh, 1.01 * x_.abs().t() @ dh16_off + 1e-5 * x_.abs().t() @ dh.abs(), dtype)
    near("weight2", w2.grad, a.t() @ rows, 1.01 * a16_off.t() @ rows.abs() + 1e-5 * a.abs().t() @ rows.abs(), dtype)
    near("bias1", b1.grad, dh.sum(0), 1.01 * dh_off.sum(0) + 16 * U32 * dh.abs().sum(0), torch.float32)
    near("bias2", b2.grad, rows.sum(0), 16 * U32 * rows.abs().sum(0), dtype)


def test_only_what_is_wanted():
    x1, x2 = torch.randn(2, 3).half(), torch.randn(3, 4).half().requires_grad_()
    y = ops.matmul_allreduce(x1, x2, SELF)
    y.sum().backward()  # a gradient of stride 0
    assert x1.grad is None and x2.grad is not None
    with torch.no_grad():
        assert not ops.matmul_allreduce(x1, x2, SELF).requires_grad
    _, _, x = ops.add_rmsnorm(*wanting(torch.randn(2, 3), torch.randn(2, 3), torch.randn(3)))
    x.sum().backward()  # gradients of the other results: none


def test_second_derivative():
    x1, x2 = wanting(torch.randn(2, 3).bfloat16(), torch.randn(3, 4).bfloat16())
    y = ops.matmul_allreduce(x1, x2, SELF)
    (first,) = torch.autograd.grad(y.sum(), x1, create_graph=True)
    first.sum().backward()
    assert torch.equal(x2.grad, torch.full((3, 4), 2.0).bfloat16())  # d(2 · Σ x2)


def test_no_gradient():
    x1, x2 = torch.randn(2, 4).half().requires_grad_(), torch.ones(4, 3, dtype=torch.int8)
    y = ops.matmul_allreduce(x1, x2, SELF, antiquant_scale=torch.ones(1).half())
    with pytest.raises(NotImplementedError, match=r"weft::matmul_allreduce: x1 is torch.float16 and x2 torch.int8"):
        y.sum().backward()
    weights = torch.randn(2, 4, 6).half().requires_grad_(), torch.randn(2, 6, 4).half()
    y = ops.ffn(x1.detach(), *weights, expert_tokens=torch.tensor([1, 1]))
    with pytest.raises(NotImplementedError, match="weft::ffn: with experts"):
        y.sum().backward()
    y, *_ = ops.moe_gating_topk_softmax(torch.randn(3, 4, requires_grad=True), 2)
    with pytest.raises(NotImplementedError, match="weft::moe_gating_topk_softmax has no gradient"):
        y.sum().backward()
    with pytest.raises(ValueError, match="weft::matmul_allreduce writes to its operands"):
        ops.matmul_allreduce.out(x1, torch.randn(4, 3).half(), SELF, out=torch.empty(2, 3).half())
    with pytest.raises(ValueError, match="weft::matmul_allreduce_add_rmsnorm_ writes to its operands"):
        ops.matmul_allreduce_add_rmsnorm_(x1, torch.randn(4, 3).half(), torch.randn(2, 3).half(), torch.ones(3).half(), SELF)


def test_writing_is_seen_by_autograd():
    a = torch.randn(2, 3).half().requires_grad_()
    residual = torch.randn(2, 3).half()
    product = (a * residual).sum()
    with torch.no_grad():
        x1, x2, gamma = torch.randn(2, 4).half(), torch.randn(4, 3).half(), torch.ones(3).half()
        ops.matmul_allreduce_add_rmsnorm_(x1, x2, residual, gamma, SELF)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
