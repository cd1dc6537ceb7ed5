# SPDX-License-Identifier: Apache-2.0
"""torch.ops.weft.matmul_*: numbers against double precision, dtypes, strides, errors; ranks are threads."""

import pytest

torch = pytest.importorskip("torch")

from threads import run_threads  # noqa: E402

import weft  # noqa: E402
import weft.torch  # noqa: E402

ops = torch.ops.weft
U = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}  # half the distance from 1 to the next value


def operands(ranks, m, k, n, dtype, seed=1):
    generator = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)  # noqa: E731
    return [make(m, k) for _ in range(ranks)], [make(k, n) for _ in range(ranks)], [make(n) for _ in range(ranks)]


def check_sum(got, partials, magnitude, k, dtype):
    """Each partial is a sum of k terms in fp32 and rounded to T, their sum is rounded to T once."""
    want = sum(partials)
    rounding = sum(p.abs() for p in partials) * U[dtype] + want.abs() * U[dtype]
    bound = 1.01 * rounding + 2 * (k + len(partials)) * 2.0**-24 * magnitude + 1e-7
    assert got.dtype == dtype
    assert ((got.double() - want).abs() <= bound).all()


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sum_and_scatter(ranks, dtype):
    m, k, n = 6, 40, 24
    x1, x2, bias = operands(ranks, m, k, n, dtype)
    products = [a.double() @ b.double() + c.double() for a, b, c in zip(x1, x2, bias)]
    magnitude = sum(a.double().abs() @ b.double().abs() + c.double().abs() for a, b, c in zip(x1, x2, bias))

    def rank_main(group):
        rank = group.rank
        everything = weft.torch.matmul_allreduce(x1[rank], x2[rank], group=group, bias=bias[rank])
        mine = ops.matmul_reduce_scatter(x1[rank], x2[rank], group.key, bias=bias[rank])
        return everything, mine

    results = run_threads(ranks, rank_main)
    for everything, _ in results:
        check_sum(everything, products, magnitude, k, dtype)
        assert torch.equal(everything, results[0][0])
    assert torch.equal(torch.cat([mine for _, mine in results]), results[0][0])


@pytest.mark.parametrize("ranks", [1, 2])
def test_norm_and_its_forms(ranks):
    m, k, n, dtype = 5, 32, 48, torch.bfloat16
    x1, x2, _ = operands(ranks, m, k, n, dtype)
    residual, gamma = torch.randn(m, n).to(dtype), torch.randn(n).to(dtype)

    def rank_main(group):
        rank = group.rank
        y, norm = weft.torch.matmul_allreduce_add_rmsnorm(x1[rank], x2[rank], residual, gamma, group=group, epsilon=1e-5)
        summed = ops.matmul_allreduce(x1[rank], x2[rank], group.key)
        in_place, out = residual.clone(), (torch.empty_like(residual), torch.empty_like(residual))
        assert torch.equal(norm, weft.torch.matmul_allreduce_add_rmsnorm_(x1[rank], x2[rank], in_place, gamma, group=group,
                                                                          epsilon=1e-5))
        weft.torch.matmul_allreduce_add_rmsnorm(x1[rank], x2[rank], residual, gamma, group=group, epsilon=1e-5, out=out)
        for other in (in_place, out[0]):
            assert torch.equal(y, other)
        assert torch.equal(norm, out[1])
        return summed, y, norm

    for summed, y, norm in run_threads(ranks, rank_main):
        # The operator rounds the sum and the residual together, once: within two roundings of doing it apart.
        apart = summed.double() + residual.double()
        assert ((y.double() - apart).abs() <= U[dtype] * (summed.abs() + 1.01 * apart.abs()).double() + 1e-7).all()
        want = torch.nn.functional.rms_norm(y.double(), (n,), gamma.double(), 1e-5)
        assert ((norm.double() - want).abs() <= 2.05 * U[dtype] * want.abs() + 1e-7).all()


def test_three_axes_and_out():
    group = weft.Group.local(1, threads=1)[0]
    x1, x2 = torch.randn(2, 3, 16).half(), torch.randn(16, 8).half()
    result = ops.matmul_allreduce(x1, x2, group.key)
    assert result.shape == (2, 3, 8)
    out = torch.empty_like(result)
    assert ops.matmul_allreduce.out(x1, x2, group.key, out=out) is None
    assert torch.equal(out, result)
    with pytest.raises(ValueError, match="output is"):
        ops.matmul_allreduce.out(x1, x2, group.key, out=torch.empty(2, 3, 9).half())


def test_unknown_group():
    x = torch.zeros(2, 2).half()
    for op in (ops.matmul_allreduce, ops.matmul_reduce_scatter):
        with pytest.raises(ValueError, match="none called 'nowhere'"):
            op(x, x, "nowhere")
    with pytest.raises(TypeError, match="group is a int"):
        weft.torch.matmul_allreduce(x, x, group=3)
