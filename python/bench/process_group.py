# SPDX-License-Identifier: Apache-2.0
"""The process group of weft beside gloo: the same calls of torch.distributed, in the same processes, in turn.

    .venv/bin/python python/bench/process_group.py [--ranks 2 4] [--seconds 1.0]

Each row: the median over rounds of the slowest rank's time for one call; calls of both take turns, so that what else the
machine does meets both. One thread in each process."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

KIB, MIB = 1 << 10, 1 << 20
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
BACKENDS = ("weft", "gloo")
Call = Callable[[], Any]


summed: list[torch.Tensor] = []


def small_numbers(dtype: torch.dtype, size: int) -> torch.Tensor:
    """Which measure() makes small again between rounds, because every call multiplies them with the number of ranks."""
    summed.append(torch.empty(size // dtype.itemsize, dtype=dtype).uniform_(-1e-4, 1e-4))
    return summed[-1]


def all_reduce(group: Any, dtype: torch.dtype, size: int) -> Call:
    tensor = small_numbers(dtype, size)
    return lambda: dist.all_reduce(tensor, group=group)


def all_reduce_async(group: Any, dtype: torch.dtype, size: int) -> Call:
    tensor = small_numbers(dtype, size)
    return lambda: dist.all_reduce(tensor, group=group, async_op=True).wait()


def all_to_all(group: Any, dtype: torch.dtype, size: int) -> Call:
    sent = torch.rand(size // dtype.itemsize).to(dtype)
    received = torch.empty_like(sent)
    return lambda: dist.all_to_all_single(received, sent, group=group)


def all_gather(group: Any, dtype: torch.dtype, size: int) -> Call:
    gathered = torch.empty(size // dtype.itemsize, dtype=dtype)
    part = torch.rand(gathered.numel() // dist.get_world_size()).to(dtype)
    return lambda: dist.all_gather_into_tensor(gathered, part, group=group)


def reduce_scatter(group: Any, dtype: torch.dtype, size: int) -> Call:
    whole = torch.rand(size // dtype.itemsize).to(dtype)
    part = torch.empty(whole.numel() // dist.get_world_size(), dtype=dtype)
    return lambda: dist.reduce_scatter_tensor(part, whole, group=group)


def barrier(group: Any, *_: Any) -> Call:
    return lambda: dist.barrier(group)


class Layer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.feed_forward(self.norm2(x))


def ddp_step(group: Any, dtype: torch.dtype, _: int) -> Call:
    torch.manual_seed(1)
    model = DistributedDataParallel(nn.Sequential(*[Layer(256) for _ in range(4)]), process_group=group)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(2, 32, 256)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def rows() -> list[tuple[str, Any, torch.dtype, int]]:
    made = [("barrier", barrier, torch.float32, 0),
            ("all_reduce 4 KiB fp32", all_reduce, torch.float32, 4 * KIB),
            ("all_reduce 4 KiB fp32, async", all_reduce_async, torch.float32, 4 * KIB)]
    for size, text in ((64 * KIB, "64 KiB"), (MIB, "1 MiB"), (16 * MIB, "16 MiB"), (64 * MIB, "64 MiB")):
        made += [(f"all_reduce {text} {name}", all_reduce, dtype, size) for name, dtype in TYPES.items()]
    for size, text in ((MIB, "1 MiB"), (16 * MIB, "16 MiB")):
        made += [(f"all_to_all_single {text} bf16", all_to_all, torch.bfloat16, size),
                 (f"all_gather_into_tensor {text} bf16", all_gather, torch.bfloat16, size),
                 (f"reduce_scatter_tensor {text} fp32", reduce_scatter, torch.float32, size)]
    return [*made, ("DDP step, 4 layers of 256", ddp_step, torch.float32, 0)]


def slowest(seconds: list[float], group: Any) -> list[float]:
    tensor = torch.tensor(seconds, dtype=torch.float64)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=group)
    return tensor.tolist()


def seconds_of(call: Call, calls: int, group: Any) -> float:
    for tensor in summed:
        tensor.uniform_(-1e-4, 1e-4)
    dist.barrier(group)
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def measure(row: tuple[str, Any, torch.dtype, int], groups: dict[str, Any], budget: float) -> list[float]:
    """Median seconds of a call, for each backend."""
    _, make, dtype, size = row
    summed.clear()
    calls = [make(groups[name], dtype, size) for name in BACKENDS]
    for call in calls:
        call()
    once = slowest([seconds_of(call, 2, groups["weft"]) for call in calls], groups["weft"])
    per_round = [max(1, min(50 if size < 64 * KIB else 12, int(0.01 / each))) for each in once]
    rounds = max(5, min(41, int(budget / sum(n * each for n, each in zip(per_round, once, strict=True)))))
    times = [[seconds_of(call, n, groups["weft"]) for call, n in zip(calls, per_round, strict=True)] for _ in range(rounds)]
    return [statistics.median(slowest(list(of_one), groups["weft"])) for of_one in zip(*times, strict=True)]


def run(rank: int, ranks: int, store: str, budget: float) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("weft", store=dist.FileStore(store, ranks), rank=rank, world_size=ranks)
    groups = {name: dist.new_group(backend=name) for name in BACKENDS}
    for row in rows():
        weft, gloo = measure(row, groups, budget)
        if rank == 0:
            print(f"| {ranks} | {row[0]} | {1e6 * weft:,.0f} | {1e6 * gloo:,.0f} | {gloo / weft:.2f} |", flush=True)
    dist.destroy_process_group()


def processor() -> str:
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row, about")
    options = parser.parse_args()
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cpus, PyTorch {torch.__version__}, "
          f"Python {platform.python_version()}")
    print(f"command: python {' '.join(sys.argv)}\n")
    print("| processes | call | weft, us | gloo, us | gloo / weft |\n|---|---|---|---|---|", flush=True)
    for ranks in options.ranks:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(run, (ranks, os.path.join(folder, "store"), options.seconds), nprocs=ranks)


if __name__ == "__main__":
    main()
