#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A 16-bit product as a user of a CPU without 16-bit units has it fastest: in fp32, through numpy (OpenBLAS) and
through PyTorch.

x1 and x2 are converted to fp32, multiplied, and the result converted back, all of it within the time, in memory that
is kept. PyTorch converts for both: numpy has no bfloat16 and converts float16 more slowly. One thread. Random data.
Every figure is the median of --repeat calls, of fewer where these do not fit in the budget, or left out with the
reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import argparse
import dataclasses
import os

import torch_peer  # sets what PyTorch reads when it is imported
from torch_peer import FLOATS, matrix

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy  # noqa: E402
import torch  # noqa: E402

FULL_WEIGHT_FLOPS = 2 * 4096 * 1024 * 8192
SHAPES = [(1024, 4096, 4096), (4096, 1024, 8192)]
LIBRARIES = {"OpenBLAS": f"numpy {numpy.__version__} (OpenBLAS) fp32", "PyTorch": f"{torch_peer.PEER} fp32"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    torch_peer.add_options(parser, 60)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement."""
    library: str
    dtype: str
    m: int
    k: int
    n: int
    order: str
    steps = 1

    @property
    def section(self):
        return f"gemm fp32 {self.library}"

    @property
    def title(self):
        return f"{self.section} {self.dtype} {self.m}x{self.k}:{self.k}x{self.n} {self.order}"

    @property
    def flops(self):
        return 2 * self.m * self.k * self.n

    @property
    def weight(self):
        return self.flops / FULL_WEIGHT_FLOPS

    def line(self, **values):
        return {"what": self.section, "peer": LIBRARIES[self.library], "dtype": self.dtype, "m": self.m, "k": self.k,
                "n": self.n, "x2": self.order, "ranks": 1, **values}


def cases(args):
    """The most important first: what comes last is what a slow machine has no time for."""
    return [Case(library, dtype, *shape, order) for library in LIBRARIES for order in ("row-major", "transposed")
            for shape in SHAPES for dtype in FLOATS if dtype in args.dtypes]


class Runner(torch_peer.Runner):
    def expected(self, case):
        return 0  # a second or two on any machine, told by the first call

    def call(self, case):
        x1, x2 = matrix(case.m, case.k, case.dtype), matrix(case.k, case.n, case.dtype, case.order)
        wide1, wide2 = torch.empty_like(x1, dtype=torch.float32), torch.empty_like(x2, dtype=torch.float32)
        wide_y = torch.empty(case.m, case.n)
        y = torch.empty(case.m, case.n, dtype=FLOATS[case.dtype])
        multiply = numpy.matmul if case.library == "OpenBLAS" else torch.matmul
        operands = (wide1, wide2, wide_y)  # the same memory for both
        if case.library == "OpenBLAS":
            operands = tuple(t.numpy() for t in operands)

        def product():
            wide1.copy_(x1)
            wide2.copy_(x2)
            multiply(operands[0], operands[1], out=operands[2])
            y.copy_(wide_y)

        return product


def main():
    args = arguments()
    torch_peer.one_core(0)
    torch.manual_seed(0)
    with torch.inference_mode():
        todo = cases(args)
        Runner(args).measure_all(todo, torch_peer.Report(args, len(todo), name="fp32"))


if __name__ == "__main__":
    main()
