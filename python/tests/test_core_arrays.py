# SPDX-License-Identifier: Apache-2.0
"""What counts as an array, and what is said about what does not."""

import numpy as np
import pytest
from numbers_of import Random

import weft

X = np.ones((3, 8), np.float32)
GAMMA = np.ones(8, np.float32)


def norm(x1=X, x2=X, gamma=GAMMA, **more):
    return weft.add_rmsnorm(x1, x2, gamma, **more)


def test_strides_sizes_and_read_only_inputs():
    random, [group] = Random(1), weft.Group.local(1)
    x1, x2, x3 = random.floats(4, 16), random.floats(16, 8), random.floats(4, 8)
    want = weft.matmul_allreduce(x1, x2, x3=x3, group=group)
    x1.flags.writeable = False
    for view in (np.asfortranarray, lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: x[::-1].copy()[::-1],
                 lambda x: np.stack([x, x], axis=2)[..., 1], lambda x: np.repeat(x, 3, axis=0)[::3]):
        np.testing.assert_array_equal(weft.matmul_allreduce(view(x1), x2, x3=x3, group=group), want)
    out = np.zeros((4, 24), np.float16)[:, 8:16]
    weft.matmul_allreduce(x1, x2, x3=x3, group=group, out=out)
    np.testing.assert_array_equal(out.base, np.pad(want, ((0, 0), (8, 8))))
    with pytest.raises(ValueError, match="m and n are 0 and 8"):
        weft.matmul_allreduce(x1[:0], x2, group=group)
    y, rstd, x = norm(X[:0], X[:0])
    assert y.shape == x.shape == (0, 8) and rstd.shape == (0, 1)


@pytest.mark.parametrize("kind,error,message", [
    (lambda x: x.tolist(), TypeError, "must be an array"),
    (lambda x: 3.0, TypeError, "must be an array"),
    (lambda x: "x", TypeError, "must be an array"),
    (lambda x: x.astype(np.complex64), ValueError, "dtype complex64"),
    (lambda x: x.astype(object), ValueError, "dtype object"),
    (lambda x: x.astype(">f4"), ValueError, "dtype >f4"),
    (lambda x: x.astype("m8[s]"), ValueError, "dtype timedelta64"),
    (lambda x: x.astype(np.float64), ValueError, "float64"),
    (lambda x: x.reshape(*[1] * 8, *x.shape), ValueError, "at most 8 axes"),
    (lambda x: np.zeros(x.shape, [("a", "f4"), ("b", "i2")])["a"], ValueError, "no whole elements"),
    (lambda x: None, (TypeError, ValueError), ""),
])
@pytest.mark.parametrize("name", ["x1", "x2", "gamma"])
def test_what_is_no_operand(kind, error, message, name):
    wrong = kind(GAMMA if name == "gamma" else X)
    with pytest.raises(error, match=rf"(?s){name}.*{message}"):
        norm(**{name: wrong}, out=(X.copy(), None, X.copy()))


@pytest.mark.parametrize("place,name", [(0, "y"), (1, "rstd"), (2, "x")])
def test_outputs_are_written(place, name):
    out = [X.copy(), np.ones((3, 1), np.float32), X.copy()]
    out[place].flags.writeable = False
    with pytest.raises(ValueError, match=f"add_rmsnorm: {name} is read-only"):
        norm(out=tuple(out))
    assert all(np.all(each == 1) for each in out)


@pytest.mark.parametrize("call,error,message", [
    (lambda g: norm(epsilon="1"), TypeError, "add_rmsnorm: epsilon must be a number"),
    (lambda g: norm(epsilon=0), ValueError, "epsilon"),
    (lambda g: norm(context=3), TypeError, "context must be a weft.Context"),
    (lambda g: weft.ffn(X, X, X, activation="tanh"), ValueError, "ffn: activation is 'tanh'.*fastgelu, relu"),
    (lambda g: weft.ffn(X, X, X, inner_precise=0), ValueError, "ffn: inner_precise is 0.*high_precision"),
    (lambda g: weft.moe_gating_topk_softmax(X, 1.5), TypeError, "float"),
    (lambda g: weft.moe_gating_topk_softmax(X, 1 << 70, out=(X, X, X)), ValueError, "k is .* 64 bits"),
    (lambda g: weft.moe_gating_topk_softmax(X, 9), ValueError, "k is 9"),
    (lambda g: weft.matmul_allreduce(X, X.T, group=None), TypeError, "group must be a weft.Group"),
    (lambda g: weft.matmul_allreduce(X, X.T, group="key"), TypeError, "group must be a weft.Group"),
    (lambda g: weft.matmul_allreduce(X, X.T, group=weft.Context(1)), TypeError, "group must be a weft.Group"),
    (lambda g: weft.matmul_allreduce(X, X.T, group=g, antiquant_group_size="1"), TypeError, "antiquant_group_size.*integer"),
    (lambda g: weft.matmul_allreduce(np.float16(X), np.float16(X), group=g), ValueError, "x1 is 8 but x2.dim.0. is 3"),
    (lambda g: weft.matmul_reduce_scatter(X, X.T, group=3), TypeError, "group"),
    (lambda g: weft.moe_dispatch(X, X, group=None, experts=2), TypeError, "group"),
    (lambda g: weft.moe_dispatch(np.float16(X), np.zeros((3, 1), "i4"), group=g, experts=2, tp_group=3), TypeError, "tp_group"),
    (lambda g: weft.PackedWeight.pack([1.0]), TypeError, "PackedWeight.pack: x2 must be an array"),
    (lambda g: weft.PackedWeight.pack(X), ValueError, "x2"),
    (lambda g: weft.PackedWeight.pack(np.float16(X), context=3), TypeError, "context"),
])
def test_other_arguments(call, error, message):
    [group] = weft.Group.local(1)
    with group, pytest.raises(error, match=f"(?s){message}"):
        call(group)


class Lender:
    """An array that has nothing but DLPack."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device, self.shape = array, device, array.shape

    def __dlpack__(self, **options):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.device


def test_dlpack():
    got, want = norm(Lender(X), X, Lender(GAMMA), out=(X.copy(), None, X.copy())), norm()
    np.testing.assert_array_equal(got[0], want[0])
    out = np.zeros_like(X)
    norm(out=(Lender(out), None, X.copy()))
    np.testing.assert_array_equal(out, want[0])


def test_classes_with_dlpack_and_nothing_in_it():
    class Broken(Lender):
        def __dlpack__(self, **options):
            raise BufferError("elsewhere")

    with pytest.raises(ValueError, match="x2 does not give its memory"):
        norm(X, Broken(X))


def test_bfloat16_of_ml_dtypes():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    random = Random(2)
    x1, x2, gamma = (random.floats(*shape, dtype=bfloat16) for shape in ((3, 8), (3, 8), (8,)))
    for _ in range(2):  # the second time it is known
        y, rstd, x = norm(x1, x2[::-1][::-1], gamma)
        assert y.dtype == x.dtype == bfloat16 and rstd.dtype == np.float32
        np.testing.assert_array_equal(x, x1 + x2)
    x1.flags.writeable = False
    with pytest.raises(ValueError, match="x is read-only"):
        norm(x1, x2, gamma, out=(y, None, x1))
    with pytest.raises(ValueError, match="dtype int4"):
        norm(x1.astype(pytest.importorskip("ml_dtypes").int4))
    [group] = weft.Group.local(1)
    scale = np.ones(1, bfloat16)
    assert weft.matmul_allreduce(np.ones((2, 32), np.int8), np.ones((32, 8), np.int8), group=group,
                                 dequant_scale=scale).dtype == bfloat16


class TestTorch:
    torch = None

    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")

    def test_tensors_are_used_in_place(self):
        torch = self.torch
        x1, x2, gamma = torch.randn(3, 8), torch.randn(3, 16)[:, :8], torch.nn.Parameter(torch.randn(8))
        with torch.no_grad():
            y, rstd, x = norm(x1, x2, gamma)
        assert all(isinstance(each, torch.Tensor) for each in (y, rstd, x))
        assert torch.equal(x, x1 + x2)
        want = norm(x1.numpy(), x2.numpy(), gamma.detach().numpy())
        assert np.array_equal(y.numpy(), want[0])
        out = torch.empty(6, 8)[::2], None, x1
        weft.add_rmsnorm(x1, x2, gamma.detach(), out=out)
        assert torch.equal(out[0], y) and torch.equal(x1, x)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_results_have_the_dtype(self, dtype):
        torch = self.torch
        x = torch.randn(3, 8, dtype=getattr(torch, dtype))
        y, rstd, total = norm(x, x, torch.ones(8, dtype=x.dtype))
        assert y.dtype == total.dtype == x.dtype and rstd.dtype == torch.float32
        assert torch.equal(total, x + x)

    def test_what_is_no_operand(self):
        torch = self.torch
        x = torch.ones(3, 8)
        with pytest.raises(ValueError, match="x1 requires a gradient"):
            norm(x.clone().requires_grad_())
        with pytest.raises(ValueError, match="x2 is not in memory: device meta"):
            norm(x, torch.ones(3, 8, device="meta"))
        with pytest.raises(ValueError, match="x2 is not in memory.*sparse"):
            norm(x, x.to_sparse())
        with pytest.raises(ValueError, match="gamma has dtype torch.complex64"):
            norm(x, x, torch.ones(8, dtype=torch.complex64))
        with pytest.raises(ValueError, match="gamma has dtype torch.float8_e4m3fn"):
            norm(x, x, torch.ones(8).to(torch.float8_e4m3fn))

    def test_subclasses(self):
        class Tensor(self.torch.Tensor):
            pass

        x = self.torch.randn(3, 8)
        got = norm(x.as_subclass(Tensor), x, self.torch.ones(8))
        assert all(map(self.torch.equal, got, norm(x, x, self.torch.ones(8))))
