#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Llama of random weights, split over processes by transformers itself: over gloo, over weft's process group, and compiled
with weft's fused operators. Each is a row of the table: time to the first token of a prompt, tokens per second after it, the
share of both that is spent waiting for other ranks, and how far the logits are from those of the model in one piece.

    python examples/python/llama_tp.py                     two ranks, each with half of the cores, and every row
    python examples/python/llama_tp.py --compiler none     only the rows that need no compilation
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # until the ranks have begun: they are forked, which threads do not survive
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch  # noqa: E402  reads OMP_NUM_THREADS
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache  # noqa: E402
from transformers.distributed import DistributedConfig  # noqa: E402

import weft.torch  # noqa: E402

PREFILLS = 3  # the median counts
TINY = dict(layers=1, hidden=256, vocabulary=512, prefill=32, decode=4)


@dataclass(frozen=True)
class Variant:
    name: str
    process_group: str
    backend: str = ""  # of torch.compile; empty: not compiled
    options: dict[str, Any] = field(default_factory=dict)


def variants(compiler: str) -> list[Variant]:
    eager = [Variant("gloo", "gloo"), Variant("weft", "weft")]
    if compiler == "none":
        return eager
    if compiler == "eager":  # traces, but generates no code
        return [*eager, Variant("gloo, compiled", "gloo", "aot_eager"),
                Variant("weft, compiled and fused", "weft", "weft", {"eager": True})]
    return [*eager, Variant("gloo, compiled", "gloo", "inductor"), Variant("weft, compiled and fused", "weft", "weft")]


@dataclass
class Times:
    first_token: float  # seconds
    token: float  # seconds, each further one


@dataclass
class Row:
    """What one rank found."""
    times: Times
    alone: Times  # without communication
    compiling: float
    error: float  # of the bound


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=2048, help="of a token; heads and the layers' other sizes follow")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--prefill", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=32, help="tokens after the first one")
    parser.add_argument("--compiler", choices=["inductor", "eager", "none"], default="inductor",
                        help="what compiles: inductor; eager, which only traces, in seconds; none: leave these rows out")
    parser.add_argument("--tiny", action="store_true", help=f"a model to try the program with: {TINY}")
    args = parser.parse_args()
    if args.tiny:
        vars(args).update(TINY)
    if args.hidden % 64:
        parser.error(f"--hidden {args.hidden} must be a multiple of 64, so that 8 heads or more of even size share it")
    if config(args).num_attention_heads % (4 * args.ranks):
        parser.error(f"--ranks {args.ranks} must divide the {config(args).num_key_value_heads} key-value heads of --hidden "
                     f"{args.hidden}: take 1, 2 or 4, or a larger --hidden")
    return args


def config(args: argparse.Namespace) -> LlamaConfig:
    heads = max(8, args.hidden // 128)
    return LlamaConfig(hidden_size=args.hidden, intermediate_size=args.hidden * 11 // 4, num_hidden_layers=args.layers,
                       num_attention_heads=heads, num_key_value_heads=heads // 4, vocab_size=args.vocabulary,
                       max_position_embeddings=args.prefill + args.decode, dtype=torch.bfloat16)


@dataclass
class Reference:
    """The model in one piece, what it is asked, and what it answers."""
    model: LlamaForCausalLM
    tokens: torch.Tensor  # (1, prefill + decode)
    logits: torch.Tensor  # after the prompt and after each token that follows
    bound: float  # on the root mean square of how far those of the split model are from them

    @staticmethod
    def of(args: argparse.Namespace) -> Reference:
        torch.manual_seed(1)
        model = LlamaForCausalLM(config(args)).to(torch.bfloat16).eval()
        tokens = torch.randint(args.vocabulary, (1, args.prefill + args.decode))

        def logits(model: LlamaForCausalLM) -> torch.Tensor:
            return model(tokens, use_cache=False, logits_to_keep=args.decode + 1).logits[0].float()

        with torch.no_grad():
            own = logits(model)
            exact = logits(copy.deepcopy(model).float())
        # Where the model in one piece rounds a product once, the split one rounds the part of each rank, and their sum: it
        # may be ranks + 1 times as far from the exact logits, so ranks + 2 times that distance from those of the other.
        return Reference(model, tokens, own, (args.ranks + 2) * rms(own - exact))


def rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def split(model: LlamaForCausalLM, ranks: int) -> LlamaForCausalLM:
    """As LlamaForCausalLM.from_pretrained(folder, distributed_config=...) does it, without a folder of weights."""
    model = copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})  # which share their memory
    parts, _, mesh = model.prepare_distribute_model(DistributedConfig(tp_size=ranks, tp_plan="auto"))
    return model.maybe_distribute_model(model, parts, mesh)


class Session:
    """A split model that reads the prompt and then token after token."""

    def __init__(self, model: LlamaForCausalLM, variant: Variant, tokens: torch.Tensor, prompt: int):
        self.forward: Callable[..., Any] = model
        self.report = weft.torch.Report()  # of what the pass replaced
        if variant.backend:
            options = {"report": self.report} if variant.backend == "weft" else {}
            self.forward = torch.compile(model, backend=variant.backend, dynamic=False, options=options | variant.options)
        self.prompt, self.following = tokens[:, :prompt], tokens[:, prompt:].split(1, dim=1)
        self.cache = StaticCache(config=model.config, max_cache_len=tokens.shape[1])
        model(self.prompt[:, :1], cache=self.cache, use_cache=True)  # makes its tensors, so that the first graph serves again

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.forward(tokens, cache=self.cache, use_cache=True, logits_to_keep=1).logits[0].float()

    def answers(self) -> torch.Tensor:
        """The logits of a whole session. The first one compiles."""
        self.cache.reset()
        return torch.cat([self.read(tokens) for tokens in (self.prompt, *self.following)])

    def measure(self) -> Times:
        prefills = []
        for _ in range(PREFILLS):
            self.cache.reset()
            dist.barrier()
            prefills.append(seconds(self.read, self.prompt))
        steps = [seconds(self.read, token) for token in self.following]
        return Times(statistics.median(prefills), statistics.median(steps))


def seconds(call: Callable[..., Any], *operands: Any) -> float:
    begin = time.perf_counter()
    call(*operands)
    return time.perf_counter() - begin


@contextmanager
def silence(variant: Variant, rank: int, ranks: int) -> Iterator[None]:
    """Replaces the process group by one whose collectives return at once, with wrong results, and what the fused operators
    know by its name by a group of this rank alone."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    key = weft.torch.group_key(dist.group.WORLD) if variant.backend == "weft" else ""
    dist.destroy_process_group()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    with weft.Group.join(weft.unique_id(), 0, 1, name=key) if key else nullcontext():
        yield
    dist.destroy_process_group()


def run(variant: Variant, reference: Reference, rank: int, args: argparse.Namespace) -> tuple[Row, weft.torch.Report]:
    session = Session(split(reference.model, args.ranks), variant, reference.tokens, args.prefill)
    begin = time.perf_counter()
    error = rms(session.answers() - reference.logits) / reference.bound
    first_session = time.perf_counter() - begin
    times = session.measure()
    compiling = first_session - times.first_token - args.decode * times.token
    with silence(variant, rank, args.ranks):
        row = Row(times, session.measure(), compiling if variant.backend else 0, error)
    return row, session.report


def rank_main(rank: int, args: argparse.Namespace, reference: Reference, folder: str, results: Any) -> None:
    cores = sorted(os.sched_getaffinity(0))
    threads = max(1, len(cores) // args.ranks)
    if len(cores) >= args.ranks:
        os.sched_setaffinity(0, cores[rank * threads:(rank + 1) * threads])
    torch.set_num_threads(threads)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(args.ranks), LOCAL_WORLD_SIZE=str(args.ranks))
    begin = time.monotonic()
    for variant in variants(args.compiler):
        dist.init_process_group(variant.process_group, init_method=f"file://{folder}/{variant.name}", rank=rank,
                                world_size=args.ranks)
        with torch.no_grad():
            row, report = run(variant, reference, rank, args)
        results.put((variant.name, row))
        if rank == 0:
            replaced = f"; {str(report).splitlines()[0]}" if report.graphs else ""
            print(f"{time.monotonic() - begin:4.0f} s: {variant.name} is measured{replaced}", flush=True)
        torch._dynamo.reset()


def slowest(rows: list[Row]) -> Row:
    def largest(times: list[Times]) -> Times:
        return Times(max(t.first_token for t in times), max(t.token for t in times))

    return Row(largest([row.times for row in rows]), largest([row.alone for row in rows]),
               max(row.compiling for row in rows), max(row.error for row in rows))


def waiting(total: float, alone: float) -> str:
    return f"{max(0, 1 - alone / total):.0%}"


def print_table(rows: dict[str, Row], args: argparse.Namespace) -> None:
    print(f"\n{'':26}{'first token':>13}{'prefill':>13}{'decode':>13}{'waiting: prefill':>19}{'decode':>8}"
          f"{'compiling':>12}{'error':>8}")
    for name, row in rows.items():
        times, alone = row.times, row.alone
        print(f"{name:26}{times.first_token:11.3f} s{args.prefill / times.first_token:9.0f} t/s{1 / times.token:9.1f} t/s"
              f"{waiting(times.first_token, alone.first_token):>19}{waiting(times.token, alone.token):>8}"
              + (f"{row.compiling:10.0f} s" if row.compiling else f"{'-':>12}") + f"{row.error:8.2f}")
    print("\nwaiting: the share of the time that is not needed where collectives return at once"
          "\ncompiling: how much longer the first session took; error: of the logits, 1 is the bound\n")


def print_speedups(rows: dict[str, Row]) -> None:
    fused = "weft, compiled and fused"
    for name, base in (("weft", "gloo"), (fused, "gloo, compiled"), (fused, "gloo")):
        if name in rows:
            new, old = rows[name].times, rows[base].times
            print(f"{name} against {base}: prefill {old.first_token / new.first_token:.2f} x, "
                  f"decode {old.token / new.token:.2f} x")


def main() -> int:
    args = arguments()
    reference = Reference.of(args)
    weights = sum(weight.numel() for weight in reference.model.parameters())
    print(f"Llama of {args.layers} layers, {args.hidden} wide, {weights / 1e6:.0f} million weights in bfloat16, over "
          f"{args.ranks} processes; a prompt of {args.prefill} tokens, then {args.decode}\n{weft.Context(threads=1).isa}",
          flush=True)
    results = mp.get_context("fork").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(rank_main, (args, reference, folder, results), nprocs=args.ranks, start_method="fork")
    found: dict[str, list[Row]] = {}
    while not results.empty():
        name, row = results.get()
        found.setdefault(name, []).append(row)
    rows = {name: slowest(parts) for name, parts in found.items()}
    print_table(rows, args)
    print_speedups(rows)
    wrong = [name for name, row in rows.items() if not row.error <= 1]
    if wrong:
        print(f"logits beyond the bound: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
