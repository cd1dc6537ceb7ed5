#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fused layer as a user composes it from the fastest parts that install by name: PyTorch's matmul (oneDNN), Open
MPI's all-reduce through shared memory, residual add and RMSNorm by torch.compile.

Open MPI has no sums of 16-bit floats, so the partial results are fp32 from the product to the norm. The product is
one of 16-bit or int8 operands, or of operands converted to fp32, conversions included; the faster of the two counts.
mpiexec starts the ranks, one thread and, where there are enough, one core each. Random data. The time of a call is
that of the slowest rank; every figure is the median of --repeat calls, of fewer where these do not fit in the budget,
or left out with the reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import argparse
import dataclasses
import os
import sys

MPIEXEC = os.path.join(os.path.dirname(sys.executable), "mpiexec")
RANKS = 2


def start_ranks():
    """Becomes mpiexec; its ranks cannot see whether stderr is a terminal."""
    terminal = ["--terminal"] if sys.stderr.isatty() else []
    os.execv(MPIEXEC, [MPIEXEC, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(RANKS),
                       sys.executable, *sys.argv, *terminal])


if __name__ == "__main__" and "OMPI_COMM_WORLD_SIZE" not in os.environ and not {"-h", "--help"} & set(sys.argv):
    start_ranks()

import torch_peer  # noqa: E402  (sets what PyTorch reads when it is imported)
import torch  # noqa: E402
from mpi4py import MPI  # noqa: E402
from torch_peer import FLOATS, matrix, multiply  # noqa: E402

SHAPE = (4096, 1024, 8192)
ORDERS = ["row-major", "transposed"]
VERSION = MPI.Get_library_version().split()[2].strip("v,")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    torch_peer.add_options(parser, 80)
    parser.add_argument("--terminal", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; form is how the product is made."""
    dtype: str
    order: str
    form: str = ""
    steps = 1
    weight = 1
    section = "fused composed"

    @property
    def title(self):
        return f"{self.section} {self.dtype} {'x'.join(map(str, SHAPE))} {self.order} {self.form}".strip()

    @property
    def flops(self):
        m, k, n = SHAPE
        return 2 * m * k * n

    def line(self, **values):
        m, k, n = SHAPE
        return {"what": self.section, "peer": f"{torch_peer.PEER} + Open MPI {VERSION}", "dtype": self.dtype, "m": m,
                "k": k, "n": n, "x2": self.order, "form": self.form, "ranks": RANKS, **values}


@torch.compile(dynamic=False)
def add_rmsnorm(y, residual, gamma):
    y = y + residual.float()
    scale = torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)
    return y.to(residual.dtype), (y * scale * gamma.float()).to(residual.dtype)


def io_of(case):
    return FLOATS.get(case.dtype, torch.float16)


def tail_operands(dtype):
    m, _, n = SHAPE
    return torch.randn(m, n).to(dtype), torch.randn(n).to(dtype)


def compile_norms(dtypes, rank):
    """First one rank, then the others, which find what it has compiled."""
    for turn in range(RANKS):
        for dtype in dtypes if turn == rank else ():
            add_rmsnorm(torch.zeros(SHAPE[0], SHAPE[2]), *tail_operands(dtype))
        MPI.COMM_WORLD.Barrier()


class Runner(torch_peer.Runner):
    def agreed(self, value):
        return MPI.COMM_WORLD.allreduce(value, op=MPI.MAX)

    def begin_together(self):
        MPI.COMM_WORLD.Barrier()

    def measure(self, case, share):
        """The faster of the two products. Of one alone, if the other takes ten times as long."""
        forms = sorted((dataclasses.replace(case, form=form) for form in ("as stored", "fp32")), key=self.expected)
        first, second = map(self.expected, forms)
        return self.measure_fastest(forms[:1] if second > 10 * first else forms, share, "form")

    def expected(self, case):
        m, k, n = SHAPE
        return self.product_seconds(m, k, n, "float32" if case.form == "fp32" else case.dtype, case.order)

    def call(self, case):
        m, k, n = SHAPE
        x1, x2 = matrix(m, k, case.dtype), matrix(k, n, case.dtype, case.order)
        tail = tail_operands(io_of(case))
        scale = torch.rand(n) * 1e-4  # int8 only: one for each column
        wide1, wide2 = torch.empty_like(x1, dtype=torch.float32), torch.empty_like(x2, dtype=torch.float32)
        partial = torch.empty(m, n)

        def product():
            if case.form == "fp32":
                wide1.copy_(x1)
                wide2.copy_(x2)
                torch.matmul(wide1, wide2, out=partial)
            else:
                partial.copy_(multiply(case.dtype)(x1, x2))
            if case.dtype == "int8":
                partial.mul_(scale)

        def layer():
            product()
            MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, partial.numpy())
            return add_rmsnorm(partial, *tail)

        return layer


def main():
    args = arguments()
    rank = MPI.COMM_WORLD.rank
    torch_peer.one_core(rank, RANKS)
    torch.manual_seed(rank)
    todo = [Case(dtype, order) for order in ORDERS for dtype in args.dtypes]
    report = torch_peer.Report(args, len(todo), name="composed stack", terminal=args.terminal) if rank == 0 else None
    with torch.inference_mode():
        if report:
            report.progress.step("compiling", "compiling the norm")
        compile_norms({io_of(case) for case in todo}, rank)
        Runner(args).measure_all(todo, report)


if __name__ == "__main__":
    main()
