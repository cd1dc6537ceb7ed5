#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a CPU user has without weft: PyTorch's matmul; matmul, gloo's all-reduce, add, rms_norm; gloo's collectives.

One thread and, where there are enough, one core per rank. Random data. The time of a call on several ranks is that
of the slowest rank; every figure is the median of --repeat calls, of fewer where these do not fit in the budget, or
left out with the reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import argparse
import dataclasses
import warnings

import torch_peer  # sets what PyTorch reads when it is imported
import torch
import torch.distributed as dist
import torch_ranks
from torch_peer import FLOATS, matrix, multiply

FULL_WEIGHT_FLOPS = 2 * 4096 * 1024 * 8192


def shape(text):
    m, k, n = (int(part) for part in text.split("x"))
    return m, k, n


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemm", type=shape, nargs="*", metavar="MxKxN",
                        default=[shape("1024x4096x4096"), shape("4096x1024x8192")], help="matmul alone")
    parser.add_argument("--fused", type=shape, nargs="*", metavar="MxKxN", default=[shape("4096x1024x8192")],
                        help="per rank: matmul, then all-reduce, add, rms_norm; all-reduce; or reduce-scatter")
    parser.add_argument("--decode", type=shape, nargs="*", metavar="MxKxN",
                        default=[shape("1x2048x4096"), shape("8x2048x4096")], help="the same, weights as (n, k)")
    parser.add_argument("--no-collectives", dest="collectives", action="store_const", const=[],
                        default=[(64, 20), (1 << 10, 10), (16 << 10, 8), (64 << 10, 4)],
                        help="leave out the collectives alone")
    parser.add_argument("--ranks", type=int, default=2)
    torch_peer.add_options(parser, 280)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement. A product: m, k, n and order; a collective: kib, and calls that follow each other."""
    what: str
    dtype: str
    m: int = 0
    k: int = 0
    n: int = 0
    order: str = ""
    kib: int = 0
    steps: int = 1

    @property
    def section(self):
        return f"{self.what} {self.order}".strip() if self.n else "collectives"

    @property
    def title(self):
        size = f"{self.m}x{self.k}:{self.k}x{self.n} {self.order}" if self.n else f"{self.kib} KiB"
        return f"{self.what} {self.dtype} {size}"

    @property
    def flops(self):
        return 2 * self.m * self.k * self.n

    @property
    def weight(self):
        """Of the time, as the work is."""
        work = self.flops / FULL_WEIGHT_FLOPS if self.n else self.kib * self.steps / (512 << 10)
        return max(0.1, work)

    def line(self, ranks, **values):
        alone = self.what == "gemm"
        size = {"m": self.m, "k": self.k, "n": self.n, "x2": self.order} if self.n else {"kib": self.kib}
        return {"what": self.what, "peer": torch_peer.PEER + ("" if alone else " + gloo"),
                "dtype": self.dtype, **size, "ranks": 1 if alone else ranks, **values}


def cases(args):
    """The most important first: what comes last is what a slow machine has no time for."""
    def products(shapes, whats, order):
        return [Case(what, dtype, *mkn, order) for mkn in shapes for what in whats for dtype in args.dtypes]

    kinds = [kind for kind in (*FLOATS, "float32") if kind == "float32" or kind in args.dtypes]
    collectives = [Case("collectives/allreduce", dtype, kib=kib, steps=steps)
                   for kib, steps in args.collectives for dtype in kinds]
    if args.collectives:
        collectives += [Case(f"collectives/{what}", "float16", kib=16 << 10, steps=8)
                        for what in ("reduce_scatter", "allgather", "alltoall")]
    return (products(args.fused, ["fused"], "row-major") + collectives
            + products(args.gemm, ["gemm"], "row-major") + products(args.gemm, ["gemm"], "transposed")
            + products(args.fused, ["allreduce", "reduce scatter"], "row-major")
            + products(args.decode, ["decode"], "transposed")
            + products(args.fused, ["fused", "allreduce", "reduce scatter"], "transposed"))


def product_call(case, ranks):
    m, k, n, dtype = case.m, case.k, case.n, case.dtype
    x1, x2 = matrix(m, k, dtype), matrix(k, n, dtype, case.order)
    if case.what == "gemm":
        return lambda: multiply(dtype)(x1, x2)
    io = FLOATS.get(dtype, torch.float16)
    scale = torch.rand(n) * 1e-4  # int8 only: one for each column
    row_scale = torch.rand(m, 1)  # int8 without a norm: one for each row

    def product():
        y = multiply(dtype)(x1, x2)
        return (y * scale).to(io) if dtype == "int8" else y

    def product_per_token():
        y = multiply(dtype)(x1, x2)
        return (y * scale * row_scale).to(io) if dtype == "int8" else y

    if case.what == "allreduce":
        return lambda: dist.all_reduce(product_per_token())
    if case.what == "reduce scatter":
        own_rows = torch.empty(m // ranks, n, dtype=io)
        return lambda: dist.reduce_scatter_tensor(own_rows, product_per_token())
    residual, gamma = torch.randn(m, n).to(io), torch.randn(n).to(io)

    def layer():
        y = product()
        dist.all_reduce(y)
        y += residual
        return y, torch.nn.functional.rms_norm(y, (n,), gamma, 1e-6)

    return layer


def collective_call(case, ranks):
    """Short calls follow each other, as those of a model do."""
    kind = {**FLOATS, "float32": torch.float32}[case.dtype]
    whole = torch.zeros((case.kib << 10) // kind.itemsize, dtype=kind)
    other, part = torch.zeros_like(whole), torch.zeros(whole.numel() // ranks, dtype=kind)
    call = {"allreduce": lambda: dist.all_reduce(whole),
            "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
            "allgather": lambda: dist.all_gather_into_tensor(whole, part),
            "alltoall": lambda: dist.all_to_all_single(other, whole)}[case.what.removeprefix("collectives/")]

    def calls():
        for _ in range(case.steps):
            call()

    return calls


class Runner(torch_ranks.Runner):
    def expected(self, case):
        return self.product_seconds(case.m, case.k, case.n, case.dtype, case.order)

    def call(self, case):
        if not case.n:
            return collective_call(case, self.ranks)
        if case.what == "gemm" and self.rank > 0:
            return lambda: None  # a product alone is the first rank's; the others wait
        return product_call(case, self.ranks)


def measure(rank, ranks, args):
    warnings.filterwarnings("ignore", category=FutureWarning)  # PyTorch renames reduce_scatter_tensor
    todo = cases(args)
    Runner(rank, ranks, args).measure_all(todo, torch_peer.Report(args, len(todo)) if rank == 0 else None)


def main():
    args = arguments()
    torch_ranks.run(measure, args.ranks, args)


if __name__ == "__main__":
    main()
