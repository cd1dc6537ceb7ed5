#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a CPU user has without weft: PyTorch's matmul, matmul + gloo all-reduce + add + rms_norm, and gloo's collectives.

One thread and, where there are enough, one core per rank. Random data. The time of a call on several ranks is that
of the slowest rank; every figure is the median of --repeat calls. Prints one JSON object per line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch  # noqa: E402  (reads OMP_NUM_THREADS when imported)
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def shape(text):
    m, k, n = (int(part) for part in text.split("x"))
    return m, k, n


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemm", type=shape, nargs="*", metavar="MxKxN",
                        default=[shape("1024x4096x4096"), shape("4096x1024x8192")], help="matmul alone")
    parser.add_argument("--fused", type=shape, nargs="*", metavar="MxKxN",
                        default=[shape("4096x1024x8192")], help="per rank: matmul, then all-reduce, add, rms_norm; all-reduce; or reduce-scatter")
    parser.add_argument("--decode", type=shape, nargs="*", metavar="MxKxN",
                        default=[shape("1x2048x4096"), shape("8x2048x4096")], help="the same, weights as (n, k)")
    parser.add_argument("--no-collectives", dest="collectives", action="store_const", const=[],
                        default=[(64, 20), (1 << 10, 10), (16 << 10, 8), (64 << 10, 4)], help="leave out the collectives alone")
    parser.add_argument("--dtypes", nargs="+", choices=[*FLOATS, "int8"], default=[*FLOATS, "int8"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", metavar="FILE", help="also write the lines to FILE")
    return parser.parse_args()


def one_core(rank):
    cores = sorted(os.sched_getaffinity(0))
    if rank < len(cores):
        os.sched_setaffinity(0, {cores[rank]})
    torch.set_num_threads(1)


def matrix(rows, columns, dtype, order="row-major"):
    if order == "transposed":
        return matrix(columns, rows, dtype).t()
    if dtype == "int8":
        return torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
    return torch.randn(rows, columns).to(FLOATS[dtype])


def multiply(dtype):
    return torch._int_mm if dtype == "int8" else torch.matmul


def median_seconds(call, repeat, ranks=1):
    """Of the slowest rank. Two calls first: they allocate, choose kernels and fill caches."""
    seconds = []
    for turn in range(repeat + 2):
        if ranks > 1:
            dist.barrier()
        begin = time.perf_counter()
        call()
        took = torch.tensor([time.perf_counter() - begin], dtype=torch.float64)
        if ranks > 1:
            dist.all_reduce(took, op=dist.ReduceOp.MAX)
        if turn >= 2:
            seconds.append(took.item())
    return statistics.median(seconds)


def result(what, dtype, mkn, order, ranks, repeat, seconds):
    m, k, n = mkn
    return {"what": what, "peer": f"torch {torch.__version__}" + (" + gloo" if ranks > 1 else ""), "dtype": dtype,
            "m": m, "k": k, "n": n, "x2": order, "ranks": ranks, "repeat": repeat,
            "median_s": seconds, "gflops_per_rank": 2e-9 * m * k * n / seconds}


def measure_gemm(dtype, mkn, order, repeat):
    m, k, n = mkn
    x1, x2 = matrix(m, k, dtype), matrix(k, n, dtype, order)
    seconds = median_seconds(lambda: multiply(dtype)(x1, x2), repeat)
    return result("gemm", dtype, mkn, order, 1, repeat, seconds)


def measure_fused(what, dtype, mkn, order, args):
    m, k, n = mkn
    io = FLOATS.get(dtype, torch.float16)
    x1, x2 = matrix(m, k, dtype), matrix(k, n, dtype, order)
    residual, gamma = torch.randn(m, n).to(io), torch.randn(n).to(io)
    scale = torch.rand(n) * 1e-4  # int8 only: one for each column

    row_scale = torch.rand(m, 1)  # int8 without a norm: one for each row
    own_rows = torch.empty(m // args.ranks, n, dtype=io)

    def product():
        y = multiply(dtype)(x1, x2)
        return (y * scale).to(io) if dtype == "int8" else y

    def call():
        y = product()
        dist.all_reduce(y)
        y += residual
        return y, torch.nn.functional.rms_norm(y, (n,), gamma, 1e-6)

    def product_per_token():
        y = multiply(dtype)(x1, x2)
        return (y * scale * row_scale).to(io) if dtype == "int8" else y

    def allreduce():
        dist.all_reduce(product_per_token())

    def reduce_scatter():
        dist.reduce_scatter_tensor(own_rows, product_per_token())

    call = {"allreduce": allreduce, "reduce scatter": reduce_scatter}.get(what, call)
    seconds = median_seconds(call, args.repeat, args.ranks)
    return result(what, dtype, mkn, order, args.ranks, args.repeat, seconds)


def measure_collective(what, dtype, kib, steps, args):
    """Short calls follow each other, as those of a model do."""
    kind = {**FLOATS, "float32": torch.float32}[dtype]
    whole = torch.zeros((kib << 10) // kind.itemsize, dtype=kind)
    other, part = torch.zeros_like(whole), torch.zeros(whole.numel() // args.ranks, dtype=kind)
    call = {"allreduce": lambda: dist.all_reduce(whole),
            "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
            "allgather": lambda: dist.all_gather_into_tensor(whole, part),
            "alltoall": lambda: dist.all_to_all_single(other, whole)}[what]

    def calls():
        for _ in range(steps):
            call()

    seconds = median_seconds(calls, args.repeat, args.ranks) / steps
    return {"what": f"collectives/{what}", "peer": f"torch {torch.__version__} + gloo", "dtype": dtype, "kib": kib,
            "ranks": args.ranks, "repeat": args.repeat, "median_s": seconds}


def emit(line, args):
    print(json.dumps(line), flush=True)
    if args.json:
        with open(args.json, "a", encoding="utf-8") as file:
            print(json.dumps(line), file=file)


def gemm_main(rank, args):
    one_core(rank)
    torch.manual_seed(0)
    with torch.inference_mode():
        for mkn in args.gemm:
            for order in ("row-major", "transposed"):
                for dtype in args.dtypes:
                    emit(measure_gemm(dtype, mkn, order, args.repeat), args)


def fused_main(rank, args, store):
    one_core(rank)
    torch.manual_seed(rank)
    warnings.filterwarnings("ignore", category=FutureWarning)  # PyTorch renames reduce_scatter_tensor
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=args.ranks)
    cases = [(what, mkn, order) for mkn in args.fused for order in ("row-major", "transposed")
             for what in ("fused", "allreduce", "reduce scatter")]
    cases += [("decode", mkn, "transposed") for mkn in args.decode]
    with torch.inference_mode():
        for what, mkn, order in cases:
            for dtype in args.dtypes:
                line = measure_fused(what, dtype, mkn, order, args)
                if rank == 0:
                    emit(line, args)
        for what, dtype, kib, steps in collectives(args):
            line = measure_collective(what, dtype, kib, steps, args)
            if rank == 0:
                emit(line, args)
    dist.destroy_process_group()


def collectives(args):
    kinds = [kind for kind in (*FLOATS, "float32") if kind == "float32" or kind in args.dtypes]
    for kib, steps in args.collectives:
        for dtype in kinds:
            yield "allreduce", dtype, kib, steps
    for what in ("reduce_scatter", "allgather", "alltoall"):
        if args.collectives:
            yield what, "float16", 16 << 10, 8


def main():
    args = arguments()
    if args.json:
        open(args.json, "w", encoding="utf-8").close()
    mp.spawn(gemm_main, (args,), nprocs=1)
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(fused_main, (args, os.path.join(folder, "store")), nprocs=args.ranks)


if __name__ == "__main__":
    main()
