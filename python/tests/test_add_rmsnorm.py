# SPDX-License-Identifier: Apache-2.0
"""add_rmsnorm from numpy and from PyTorch."""

import numpy as np
import pytest

import weft


def expected(x1, x2, gamma, epsilon=1e-6):
    x = x1.astype(np.float64) + x2
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * gamma


def test_numpy():
    random = np.random.default_rng(1)
    x1, x2 = random.standard_normal((2, 5, 96), dtype=np.float32)
    gamma = random.standard_normal(96, dtype=np.float32)
    y, rstd, x = weft.add_rmsnorm(x1, x2, gamma)
    assert isinstance(y, np.ndarray) and rstd.shape == (5, 1)
    np.testing.assert_array_equal(x, x1 + x2)
    np.testing.assert_allclose(y, expected(x1, x2, gamma), rtol=2e-6, atol=1e-6)


def test_error_names_operand():
    x = np.zeros((2, 8), np.float32)
    with pytest.raises(ValueError, match="gamma"):
        weft.add_rmsnorm(x, x, np.zeros(9, np.float32))


def test_torch_operator():
    torch = pytest.importorskip("torch")
    import weft.torch  # noqa: F401

    x1, x2, gamma = torch.randn(5, 96), torch.randn(5, 96), torch.randn(96)
    y, rstd, x = torch.ops.weft.add_rmsnorm(x1, x2, gamma)
    assert torch.equal(x, x1 + x2)
    for got, want in zip((y, rstd, x), weft.add_rmsnorm(x1, x2, gamma)):
        assert torch.equal(got, want)
    torch.library.opcheck(torch.ops.weft.add_rmsnorm.default, (x1, x2, gamma))
