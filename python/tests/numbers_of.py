# SPDX-License-Identifier: Apache-2.0
"""Random operands and comparisons with bounds."""

import numpy as np

UNIT = {"float16": 2.0**-11, "float32": 2.0**-24}


class Random:
    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def floats(self, *shape, dtype=np.float16, scale=1.0):
        return (self.generator.uniform(-scale, scale, shape)).astype(dtype)

    def positive(self, *shape, dtype=np.float16, scale=1.0):
        return (self.generator.uniform(0.5, 1.0, shape) * scale).astype(dtype)

    def int8(self, *shape, low=-9, high=10):
        return self.generator.integers(low, high, shape, dtype=np.int8)


def product(x1, x2):
    """x1·x2 in double precision, and the sum of the magnitudes, which fp32 rounding goes with."""
    x1, x2 = np.asarray(x1, np.float64), np.asarray(x2, np.float64)
    return x1 @ x2, np.abs(x1) @ np.abs(x2)


def assert_close(got, want, bound):
    error = np.abs(np.asarray(got, np.float64) - want)
    assert error.shape == np.shape(want)
    worst = np.max(error - bound, initial=-1.0)
    assert worst <= 0, f"{np.sum(error > bound)} elements differ by more than the bound; the worst by {worst} more"
