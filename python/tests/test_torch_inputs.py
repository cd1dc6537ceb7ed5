# SPDX-License-Identifier: Apache-2.0
"""What operators make of unusual tensors and modes: the right result, or an error that says what to do."""


import pytest

torch = pytest.importorskip("torch")

from threads import run_threads  # noqa: E402

import weft  # noqa: E402
import weft.torch  # noqa: E402

ops = torch.ops.weft
SELF = "weft.self"


def operands(dtype=torch.bfloat16):
    return torch.randn(4, 6).to(dtype), torch.randn(6, 8).to(dtype)


def test_any_strides():
    x1, x2 = operands()
    wide = torch.empty(4, 12).bfloat16()
    wide[:, ::2] = x1
    want = ops.matmul_allreduce(x1, x2, SELF)
    for a in (x1, x1.t().contiguous().t(), wide[:, ::2]):
        for b in (x2, x2.t().contiguous().t()):
            assert torch.equal(ops.matmul_allreduce(a, b, SELF), want)
    y = torch.randn(5, 3, 8)
    swapped, ones = y.transpose(0, 1), torch.ones(8)
    for got, expected in zip(ops.add_rmsnorm(swapped, swapped, ones), ops.add_rmsnorm(y, y, ones)):
        assert torch.equal(got, expected.transpose(0, 1))


def test_transposed_x1_of_reduce_scatter_is_refused():
    x1, x2 = operands()
    with pytest.raises(ValueError, match="make it contiguous"):
        ops.matmul_reduce_scatter(x1.t().contiguous().t(), x2, SELF)


def unpack(packed):
    return torch.stack((packed.char() << 4 >> 4, packed.char() >> 4), -1).flatten(-2)


@pytest.mark.parametrize("along_k", [False, True])
def test_int4(along_k):
    x1 = torch.randint(-3, 4, (3, 8)).half()
    bytes_ = torch.randint(0, 256, (10, 4) if along_k else (8, 5), dtype=torch.uint8)
    weight, whole = (bytes_.t(), unpack(bytes_).t()) if along_k else (bytes_, unpack(bytes_))
    y = ops.matmul_allreduce(x1, weight, SELF, antiquant_scale=torch.ones(1).half())
    assert torch.equal(y, x1 @ whole.half())


def test_int4_needs_an_axis_of_adjacent_bytes():
    scattered = torch.zeros(8, 10, dtype=torch.uint8)[:, ::2]
    with pytest.raises(ValueError, match="x2 is uint8, two int4 in a byte"):
        ops.matmul_allreduce(torch.zeros(3, 8).half(), scattered, SELF, antiquant_scale=torch.ones(1).half())


def test_int8():
    x1, x2 = torch.randint(-100, 100, (4, 6), dtype=torch.int8), torch.randint(-100, 100, (6, 8), dtype=torch.int8)
    scale = torch.tensor([2.0**-8]).bfloat16()
    want = (x1.double() @ x2.double() * 2.0**-8).bfloat16()
    assert torch.equal(ops.matmul_allreduce(x1, x2, SELF, dequant_scale=scale), want)
    rows, columns = torch.full((4,), 0.5), torch.full((8,), 2.0**-7)
    for dtype in (None, torch.bfloat16):
        y = ops.matmul_reduce_scatter(x1, x2, SELF, x1_scale=rows, x2_scale=columns, dtype=dtype)
        assert torch.equal(y, (x1.double() @ x2.double() * 2.0**-8).to(dtype or torch.float16))


def test_packed_weight():
    x1, x2 = operands()
    packed = weft.torch.PackedWeight(x2, group=SELF)
    assert torch.equal(weft.torch.matmul_allreduce(x1, packed, group=SELF), ops.matmul_allreduce(x1, x2, SELF))
    assert torch.equal(weft.torch.matmul_reduce_scatter(x1, packed, group=SELF), ops.matmul_allreduce(x1, x2, SELF))
    with pytest.raises(ValueError, match="out is given, but the weight is a PackedWeight"):
        weft.torch.matmul_allreduce(x1, packed, group=SELF, out=torch.empty(4, 8).bfloat16())
    with pytest.raises(ValueError, match="pack both or neither"):
        weft.torch.ffn(x1, packed, x2.t())
    with pytest.raises(NotImplementedError, match="weft::matmul_allreduce.packed has no gradient"):
        weft.torch.matmul_allreduce(x1.requires_grad_(), packed, group=SELF).sum().backward()
    stale = packed.handle
    del packed
    with pytest.raises(ValueError, match=f"packed_x2 is {stale}, which is the handle of no packed weight"):
        ops.matmul_allreduce.packed(x1, stale, SELF)
    with pytest.raises(ValueError, match="x2 is float32"):
        weft.torch.PackedWeight(x2.float())


def test_no_elements():
    x1, x2 = operands()
    assert (ops.matmul_allreduce(x1[:, :0], x2[:0], SELF) == 0).all()
    with pytest.raises(ValueError, match="m and n are 0 and 8 but both must be at least 1"):
        ops.matmul_allreduce(x1[:0], x2, SELF)
    y, rstd, x = ops.add_rmsnorm(torch.empty(0, 8), torch.empty(0, 8), torch.ones(8))
    assert y.shape == x.shape == (0, 8) and rstd.shape == (0, 1)
    for bad in (torch.tensor(1.0).half(), torch.empty(0).half()):
        with pytest.raises(ValueError):
            ops.matmul_allreduce(bad, x2.half(), SELF)
        with pytest.raises(ValueError):
            ops.matmul_allreduce(x1.half(), bad, SELF)


def test_inference_mode():
    x1, x2 = (tensor.requires_grad_() for tensor in operands())
    with torch.inference_mode():
        y = ops.matmul_allreduce(x1, x2, SELF)
        assert y.is_inference() and not y.requires_grad
        residual, gamma = torch.zeros(4, 8).bfloat16(), torch.ones(8).bfloat16()
        norm = ops.matmul_allreduce_add_rmsnorm_(x1, x2, residual, gamma, SELF)
        assert torch.equal(residual, y) and norm.is_inference()


def test_autocast_computes_products_in_16_bits():
    x1, x2 = operands(torch.float32)
    half = x1.bfloat16(), x2.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.matmul_allreduce(x1.requires_grad_(), x2, SELF)
        assert torch.equal(y, ops.matmul_allreduce(*half, SELF)) and y.dtype == (x1 @ x2).dtype
        sums, norm = ops.matmul_allreduce_add_rmsnorm(x1, x2, torch.zeros(4, 8), torch.ones(8), SELF)
        assert torch.equal(sums, y) and norm.dtype == torch.bfloat16
        assert ops.matmul_reduce_scatter(*half, SELF, bias=torch.ones(8)).dtype == torch.bfloat16
        assert ops.ffn(x1, x2, x2.t()).dtype == torch.bfloat16
        assert ops.add_rmsnorm(y, torch.zeros(4, 8), torch.ones(8))[0].dtype == torch.float32  # as y + zeros
        assert ops.add_rmsnorm(y, y, torch.ones(8).bfloat16())[0].dtype == torch.bfloat16
        scales = dict(dequant_scale=torch.ones(1), pertoken_scale=torch.ones(4))
        assert ops.matmul_allreduce(x1.to(torch.int8), x2.to(torch.int8), SELF, **scales).dtype == torch.float16
        with pytest.raises(ValueError, match="float32"):  # writes where it is told to: no casts
            ops.matmul_allreduce.out(x1.detach(), x2, SELF, out=torch.empty(4, 8))
    y.sum().backward()
    assert x1.grad.dtype == torch.float32
    with pytest.raises(ValueError, match="float32"):
        ops.matmul_allreduce(x1, x2, SELF)
    with torch.autocast("cpu", torch.float16):
        assert ops.matmul_allreduce(x1, x2, SELF).dtype == torch.float16


def test_other_kinds_of_tensors():
    x1, x2 = operands()
    y = ops.matmul_allreduce(x1.to("meta"), x2.to("meta"), SELF)
    assert y.is_meta and y.shape == (4, 8) and y.dtype == torch.bfloat16
    for mixed in ((x1, x2.to("meta")), (x1.to("meta"), x2)):
        with pytest.raises(ValueError, match="matmul_allreduce: the operands are on cpu and meta"):
            ops.matmul_allreduce(*mixed, SELF)
    with pytest.raises(NotImplementedError, match="weft::matmul_allreduce"):
        ops.matmul_allreduce(x1.to_sparse(), x2, SELF)
    with pytest.raises(ValueError, match="x1 has dtype ComplexFloat"):
        ops.matmul_allreduce(x1.to(torch.complex64), x2, SELF)
    assert torch.equal(ops.matmul_allreduce(torch._neg_view(x1), x2, SELF), -ops.matmul_allreduce(x1, x2, SELF))

    class Tagged(torch.Tensor):
        pass

    tagged = ops.matmul_allreduce(x1.as_subclass(Tagged), torch.nn.Parameter(x2), SELF)
    assert isinstance(tagged, Tagged)
    assert torch.equal(tagged.detach().as_subclass(torch.Tensor), ops.matmul_allreduce(x1, x2, SELF))


def test_errors_of_groups():
    x1, x2 = operands()

    def leaves(group):
        if group.rank == 0:
            with pytest.raises(weft.PeerLost, match="rank 1"):
                ops.matmul_allreduce(x1, x2, group.key)

    def disagrees(group):
        with pytest.raises(weft.Mismatch, match="n is"):
            ops.matmul_allreduce(x1, x2[:, :6 + group.rank], group.key)

    run_threads(2, leaves)
    run_threads(2, disagrees)
    groups = weft.Group.local(2, threads=1, timeout=0.3)
    with pytest.raises(weft.Timeout, match="rank 1"):
        ops.matmul_allreduce(x1, x2, groups[0].key)
    groups[1].close()
    with pytest.raises(ValueError, match="is closed"):
        ops.matmul_allreduce(x1, x2, groups[1].key)
