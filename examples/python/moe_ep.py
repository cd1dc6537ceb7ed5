#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The experts of a mixture-of-experts layer, spread over processes (expert parallelism): tokens to the ranks of their
experts, the experts' feed-forward networks, and back, weighted and added. Once as PyTorch programs do it over gloo: sort,
all_to_all_single, two products for each expert; and once with weft.moe_dispatch, weft.ffn and weft.moe_combine. Both are
checked against fp32. The sizes are those of a layer of Granite 3.0 1B A400M, for a prompt and for a decode step.

    python examples/python/moe_ep.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # until the ranks have begun: they are forked, which threads do not survive
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch  # noqa: E402  reads OMP_NUM_THREADS
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

import weft  # noqa: E402

ROUNDING = 2.0**-8  # of bfloat16, relative
ROUNDING_F32 = 2.0**-24
CHECKED_TOKENS = 16  # of each rank
STAGES = ["dispatch", "experts", "combine"]
TINY = dict(tokens=[24, 1], hidden=128, intermediate=64, experts=8, top_k=2, repeat=3)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 8], help="of each rank; a table for each number")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=512, help="between the two products of an expert")
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--top-k", type=int, default=8, help="experts of a token")
    parser.add_argument("--repeat", type=int, default=15, help="the median of so many runs counts")
    parser.add_argument("--tiny", action="store_true", help=f"a layer to try the program with: {TINY}")
    args = parser.parse_args()
    if args.tiny:
        vars(args).update(TINY)
    if args.experts % args.ranks:
        parser.error(f"--ranks {args.ranks} must divide --experts {args.experts}")
    if not 1 <= args.top_k <= args.experts:
        parser.error(f"--top-k {args.top_k} must be between 1 and --experts {args.experts}")
    return args


class Experts:
    """y = (silu(g) · v)·down, where g and v are the halves of x·up."""

    def __init__(self, args: argparse.Namespace):
        def weights(rows: int, columns: int) -> torch.Tensor:
            return (torch.randn(args.experts, rows, columns) * rows**-0.5).to(torch.bfloat16)

        self.up, self.down = weights(args.hidden, 2 * args.intermediate), weights(args.intermediate, args.hidden)


@dataclass
class Tokens:
    """Of one rank, with the experts that the router chose for each, and their weights."""
    x: torch.Tensor  # (tokens, hidden) of bfloat16
    experts: torch.Tensor  # (tokens, top_k) of int32
    weights: torch.Tensor  # (tokens, top_k) of float32

    @staticmethod
    def of(rank: int, count: int, args: argparse.Namespace) -> Tokens:
        random = torch.Generator().manual_seed(rank + 1)
        x = torch.randn(count, args.hidden, generator=random).to(torch.bfloat16)
        scores = torch.randn(count, args.experts, generator=random).softmax(1)
        best = scores.topk(args.top_k)
        return Tokens(x, best.indices.int(), best.values / best.values.sum(1, keepdim=True))


class TorchLayer:
    """Over torch.distributed's default process group."""

    def __init__(self, experts: Experts, local: slice, ranks: int):
        self.up, self.down, self.ranks = experts.up[local], experts.down[local], ranks
        self.local, self.total = len(self.up), len(experts.up)

    def exchange(self, rows: torch.Tensor, sent: list[int], arriving: list[int]) -> torch.Tensor:
        out = rows.new_empty(sum(arriving), *rows.shape[1:])
        dist.all_to_all_single(out, rows, arriving, sent)
        return out

    def dispatch(self, tokens: Tokens) -> None:
        ids = tokens.experts.flatten()
        self.order = ids.argsort(stable=True)
        counts = torch.bincount(ids, minlength=self.total)
        counts_here = torch.empty_like(counts)
        dist.all_to_all_single(counts_here, counts)
        self.sent = counts.view(self.ranks, self.local).sum(1).tolist()
        self.arriving = counts_here.view(self.ranks, self.local).sum(1).tolist()
        copies = tokens.x.index_select(0, self.order // tokens.experts.shape[1])
        rows = self.exchange(copies, self.sent, self.arriving)
        expert_of_row = torch.arange(self.local).repeat(self.ranks).repeat_interleave(counts_here)
        self.by_expert = expert_of_row.argsort(stable=True)
        self.rows = rows.index_select(0, self.by_expert)
        self.rows_of = torch.bincount(expert_of_row, minlength=self.local).tolist()

    def run_experts(self) -> None:
        parts = []
        for rows, up, down in zip(self.rows.split(self.rows_of), self.up, self.down):
            gate, value = (rows @ up).chunk(2, dim=1)
            parts.append((torch.nn.functional.silu(gate) * value) @ down)
        self.results = torch.cat(parts)

    def combine(self, tokens: Tokens) -> torch.Tensor:
        back = self.exchange(self.results.index_select(0, inverse(self.by_expert)), self.arriving, self.sent)
        sums = torch.zeros(tokens.x.shape)
        for weight, places in zip(tokens.weights.t(), inverse(self.order).view(tokens.experts.shape).t()):
            sums.addcmul_(back.index_select(0, places), weight[:, None])  # faster than one product of all
        return sums.to(back.dtype)


def inverse(order: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))


class WeftLayer:
    """Arrays and weights are made ready once; every call writes to the same ones."""

    def __init__(self, experts: Experts, local: slice, group: weft.Group):
        self.up, self.down, self.group = experts.up[local], experts.down[local], group
        self.total = len(experts.up)
        self.sent: weft.Dispatched | None = None
        self.results: torch.Tensor | None = None
        self.sum: torch.Tensor | None = None

    def dispatch(self, tokens: Tokens) -> None:
        self.sent = weft.moe_dispatch(tokens.x, tokens.experts, group=self.group, experts=self.total, out=self.sent)

    def run_experts(self) -> None:
        self.results = weft.ffn(self.sent.expand_x, self.up, self.down, expert_tokens=self.sent.expert_token_nums,
                                activation="swiglu", gate_is_left=True, context=self.group, out=self.results)

    def combine(self, tokens: Tokens) -> torch.Tensor:
        self.sum = weft.moe_combine(self.results, self.sent, tokens.weights, group=self.group, out=self.sum)
        return self.sum


def timed_run(layer: TorchLayer | WeftLayer, tokens: Tokens) -> tuple[list[float], torch.Tensor]:
    """Seconds of each stage; the sums."""
    dist.barrier()
    times = [time.perf_counter()]
    layer.dispatch(tokens)
    times.append(time.perf_counter())
    layer.run_experts()
    times.append(time.perf_counter())
    sums = layer.combine(tokens)
    times.append(time.perf_counter())
    return [after - before for before, after in zip(times, times[1:])], sums


def expected(experts: Experts, tokens: Tokens, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the first tokens: the exact sums, and what bfloat16 may lose of them.

    To first order in the roundings: of g, which the slope of silu passes on, v, silu(g) and their product; of y; of the
    sum; and of the sums of fp32.
    """
    sums, bounds = torch.zeros(2, count, tokens.x.shape[1])
    for token in range(count):
        for expert, weight in zip(tokens.experts[token].tolist(), tokens.weights[token].tolist()):
            x, up, down = (each.float() for each in (tokens.x[token], experts.up[expert], experts.down[expert]))
            gate, value = (x @ up).chunk(2)
            gate_lost, value_lost = (len(x) * ROUNDING_F32 * (x.abs() @ up.abs())).chunk(2)
            inner = torch.nn.functional.silu(gate) * value
            slope = torch.sigmoid(gate) * (1 + gate * (1 - torch.sigmoid(gate)))
            lost = ROUNDING * inner.abs() * 3 + (slope * value).abs() * (ROUNDING * gate.abs() + gate_lost)
            lost += torch.nn.functional.silu(gate).abs() * value_lost + len(inner) * ROUNDING_F32 * inner.abs()
            y = inner @ down
            sums[token] += weight * y
            bounds[token] += weight * (lost @ down.abs() + ROUNDING * y.abs())
    return sums, bounds + ROUNDING * sums.abs()


@dataclass
class Row:
    """What one rank found."""
    seconds: list[float]  # medians, of each stage and of all
    error: float  # of the bound


def measure(layers: dict[str, TorchLayer | WeftLayer], experts: Experts, tokens: Tokens, repeat: int) -> dict[str, Row]:
    sums, bounds = expected(experts, tokens, min(CHECKED_TOKENS, len(tokens.x)))
    times: dict[str, list[list[float]]] = {name: [] for name in layers}
    errors = {}
    for _ in range(repeat + 1):  # the first run allocates, and does not count
        for name, layer in layers.items():
            seconds, got = timed_run(layer, tokens)
            times[name].append([*seconds, sum(seconds)])
            errors[name] = ((got[:len(sums)].float() - sums).abs() / bounds).max().item()
    return {name: Row([statistics.median(stage) for stage in zip(*times[name][1:])], errors[name]) for name in layers}


def rank_main(rank: int, args: argparse.Namespace, experts: Experts, folder: str, results: Any) -> None:
    cores = sorted(os.sched_getaffinity(0))
    threads = max(1, len(cores) // args.ranks)
    if len(cores) >= args.ranks:
        os.sched_setaffinity(0, cores[rank * threads:(rank + 1) * threads])
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=args.ranks)
    local = slice(rank * args.experts // args.ranks, (rank + 1) * args.experts // args.ranks)
    with weft.Group.from_torch() as group, torch.inference_mode():
        for count in args.tokens:
            layers = {"torch and gloo": TorchLayer(experts, local, args.ranks), "weft": WeftLayer(experts, local, group)}
            results.put((count, measure(layers, experts, Tokens.of(rank, count, args), args.repeat)))
        dist.barrier()
    dist.destroy_process_group()


def print_table(tokens: int, ranks: list[dict[str, Row]]) -> dict[str, Row]:
    """Returns its rows, those of the slowest rank."""
    print(f"{f'{tokens} tokens':16}" + "".join(f"{stage:>12}" for stage in [*STAGES, "all", "error"]))
    rows = {}
    for name in ranks[0]:
        rows[name] = Row([max(times) for times in zip(*(rank[name].seconds for rank in ranks))],
                         max(rank[name].error for rank in ranks))
        times = "".join(f"{1e3 * seconds:9.2f} ms" for seconds in rows[name].seconds)
        print(f"{name:16}{times}{rows[name].error:12.2f}")
    print(f"weft: {rows['torch and gloo'].seconds[-1] / rows['weft'].seconds[-1]:.2f} x\n", flush=True)
    return rows


def main() -> int:
    args = arguments()
    torch.manual_seed(0)
    experts = Experts(args)
    print(f"{args.experts} experts of {args.hidden} x {args.intermediate} with a gate, top {args.top_k}, bfloat16, on "
          f"{args.ranks} ranks; tokens of each rank\n{weft.Context(threads=1).isa}\n", flush=True)
    results = mp.get_context("fork").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(rank_main, (args, experts, folder, results), nprocs=args.ranks, start_method="fork")
    found: dict[int, list[dict[str, Row]]] = {tokens: [] for tokens in args.tokens}
    while not results.empty():
        tokens, rows = results.get()
        found[tokens].append(rows)
    tables = [print_table(tokens, ranks) for tokens, ranks in found.items()]
    print("error: against fp32, 1 is the bound")
    wrong = sorted({name for rows in tables for name, row in rows.items() if not row.error <= 1})
    if wrong:
        print(f"sums beyond the bound: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
