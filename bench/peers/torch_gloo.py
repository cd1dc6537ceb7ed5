#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a CPU user has without weft: PyTorch's matmul; matmul, gloo's all-reduce, add, rms_norm; gloo's collectives.

One thread and, where there are enough, one core per rank. Random data. The time of a call on several ranks is that
of the slowest rank; every figure is the median of --repeat calls, of fewer where these do not fit in the budget, or
left out with the reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import statistics
import sys
import tempfile
import time
import warnings

BEGIN = time.monotonic()  # importing PyTorch is part of the budget
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch  # noqa: E402  (reads OMP_NUM_THREADS when imported)
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
FULL_WEIGHT_FLOPS = 2 * 4096 * 1024 * 8192
PROBE_ROWS, PROBE_SECONDS = 16, 0.3


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
    parser.add_argument("--dtypes", nargs="+", choices=[*FLOATS, "int8"], default=[*FLOATS, "int8"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--budget", type=float, default=280, metavar="SECONDS", help="that all may take (280)")
    parser.add_argument("--long", dest="budget", action="store_const", const=math.inf,
                        help="all calls of everything, however long that takes")
    parser.set_defaults(begin=BEGIN)
    parser.add_argument("--json", metavar="FILE", help="write the lines to FILE instead of stdout")
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
    def weight(self):
        """Of the time, as the work is."""
        work = 2 * self.m * self.k * self.n / FULL_WEIGHT_FLOPS if self.n else self.kib * self.steps / (512 << 10)
        return max(0.1, work)

    def line(self, ranks, **values):
        alone = self.what == "gemm"
        size = {"m": self.m, "k": self.k, "n": self.n, "x2": self.order} if self.n else {"kib": self.kib}
        return {"what": self.what, "peer": f"torch {torch.__version__}" + ("" if alone else " + gloo"),
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


def matrix(rows, columns, dtype, order="row-major"):
    if order == "transposed":
        return matrix(columns, rows, dtype).t()
    if dtype == "int8":
        return torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
    return torch.randn(rows, columns).to(FLOATS[dtype])


def multiply(dtype):
    return torch._int_mm if dtype == "int8" else torch.matmul


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


def slowest(value):
    """The largest of all ranks. What is decided with it is decided alike everywhere."""
    largest = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest.item()


def duration(seconds):
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


class Skipped(Exception):
    """There is no time for a measurement; says why."""


class Runner:
    """A rank's part of every measurement."""

    def __init__(self, rank, args):
        self.rank, self.args = rank, args
        self.row_seconds = {}  # of a product, by dtype, k, n, order; alike on all ranks

    def passed(self):
        return slowest(time.monotonic() - self.args.begin)

    def expected(self, case):
        """Seconds of the product of one call, which may be minutes: from as many of its rows as take long enough."""
        if case.m <= PROBE_ROWS:
            return 0
        key = case.dtype, case.k, case.n, case.order
        if key not in self.row_seconds:
            x1, x2 = matrix(case.m, case.k, case.dtype), matrix(case.k, case.n, case.dtype, case.order)
            rows, seconds = PROBE_ROWS // 4, 0
            while seconds < PROBE_SECONDS and rows < case.m:
                rows = min(4 * rows, case.m)
                begin = time.perf_counter()
                multiply(case.dtype)(x1[:rows], x2)
                seconds = time.perf_counter() - begin
            self.row_seconds[key] = slowest(seconds / rows)
        return case.m * self.row_seconds[key]

    def measure(self, case, share):
        """The case's JSON line. Two calls come first: they allocate, choose kernels and fill caches."""
        full, begin = self.args.repeat + 2, self.passed()
        expected = self.expected(case) if share < math.inf else 0
        if 2 * expected > share:
            raise Skipped(f"one call would take about {duration(expected)}, the budget has {duration(share)} for it")
        call = self.call(case)
        seconds = [self.timed(call)]
        if 2 * seconds[0] > share:
            raise Skipped(f"one call took {duration(seconds[0])}, the budget had {duration(share)} for it")
        left = share - (self.passed() - begin)
        calls = full if left > full * seconds[0] else 1 + max(1, int(left / seconds[0]))
        seconds += [self.timed(call) for _ in range(calls - 1)]
        seconds = seconds[2 if calls == full else 1:]
        median = statistics.median(seconds) / case.steps
        speed = {"gflops_per_rank": 2e-9 * case.m * case.k * case.n / median} if case.n else {}
        return case.line(self.args.ranks, repeat=len(seconds), median_s=median, **speed)

    def call(self, case):
        if not case.n:
            return collective_call(case, self.args.ranks)
        if case.what == "gemm" and self.rank > 0:
            return lambda: None  # a product alone is the first rank's; the others wait
        return product_call(case, self.args.ranks)

    def timed(self, call):
        dist.barrier()
        begin = time.perf_counter()
        call()
        return slowest(time.perf_counter() - begin)


class Report:
    """The JSON lines, and a line on stderr that overwrites itself. Only one rank has one."""

    def __init__(self, args, count):
        self.args, self.count, self.done, self.section = args, count, 0, ""
        self.skipped = 0
        self.terminal = sys.stderr.isatty()
        self.out = open(args.json, "w", encoding="utf-8") if args.json else sys.stdout

    def begin(self, case):
        if self.terminal:
            text = f"PyTorch: {self.done + 1} of {self.count}, {case.title}, {time.monotonic() - self.args.begin:.0f} s"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif case.section != self.section:
            print(f"PyTorch: {case.section}", file=sys.stderr, flush=True)
        self.section = case.section

    def note(self, text):
        print(("\r\x1b[K" if self.terminal else "") + text, file=sys.stderr, flush=True)

    def emit(self, case, line):
        self.done += 1
        print(json.dumps(line), file=self.out, flush=True)
        if "skipped" in line:
            self.skipped += 1
        elif line["repeat"] < self.args.repeat:
            one = duration(line["median_s"] * case.steps)
            self.note(f"{case.title}: median of {line['repeat']}, not {self.args.repeat}: one call takes {one}")

    def end(self, rest):
        if rest:
            self.note(f"the budget of {self.args.budget:.0f} s is used up: {rest} measurements skipped")
        measured = self.done - self.skipped
        skipped = f", {self.skipped} skipped (--long measures all)" if self.skipped else ""
        self.note(f"PyTorch: {measured} measured{skipped}, {time.monotonic() - self.args.begin:.0f} s")
        if self.args.json:
            self.out.close()


def one_core(rank):
    cores = sorted(os.sched_getaffinity(0))
    if rank < len(cores):
        os.sched_setaffinity(0, {cores[rank]})
    torch.set_num_threads(1)


def measure_all(runner, report):
    todo = cases(runner.args)
    rest = 0
    for i, case in enumerate(todo):
        left = runner.args.budget - runner.passed()
        if report:
            report.begin(case)
        try:
            if left <= 0:
                rest += 1
                raise Skipped("the budget was used up")
            part = case.weight / sum(other.weight for other in todo[i:])
            line = runner.measure(case, left * min(1, 2 * part))  # twice its part, because many take less
        except Skipped as why:
            line = case.line(runner.args.ranks, skipped=str(why))
            if report and left > 0:
                report.note(f"{case.title}: skipped: {why}")
        if report:
            report.emit(case, line)
    if report:
        report.end(rest)


def rank_main(rank, args, store):
    one_core(rank)
    torch.manual_seed(rank)
    warnings.filterwarnings("ignore", category=FutureWarning)  # PyTorch renames reduce_scatter_tensor
    # One rank may wait for a product of another, which takes minutes on some machines.
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=args.ranks,
                            timeout=datetime.timedelta(days=1))
    with torch.inference_mode():
        measure_all(Runner(rank, args), Report(args, len(cases(args))) if rank == 0 else None)
    dist.destroy_process_group()


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank_main, (args, os.path.join(folder, "store")), nprocs=args.ranks)


if __name__ == "__main__":
    main()
