#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens to the ranks of their experts and back, as a CPU user composes it with PyTorch and gloo.

Dispatch: token copies sorted by expert, all-to-all of counts and of rows, rows reordered by local expert; or each token
once for each rank that needs it, with its experts, copied there. int8: tokens quantised before they are sent, the scale
behind each row. Combine: the way back of each row, the weighted sum of each token's rows, + residual, rms_norm. Of
every step the fastest form counts, and the line names it.

One thread and, where there are enough, one core per rank. Random data, random distinct experts. The time of a call is
that of the slowest rank; every figure is the median of --repeat calls, of fewer where these do not fit in the budget,
or left out with the reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import argparse
import copy
import dataclasses

import torch_peer  # sets what PyTorch reads when it is imported
import torch
import torch.distributed as dist
import torch_ranks
from torch_peer import random_values

SECTIONS = ["moe dispatch", "moe combine", "moe decode"]
SENDING = ["each copy sent", "each token once per rank"]
SUMMING = ["products by matmul", "products by slot"]
FORMS = {"moe dispatch": SENDING, "moe combine": SUMMING, "moe decode": SUMMING}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 8])
    torch_peer.add_options(parser, 45)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; like MoeProblem in bench/moe_job.h."""
    what: str
    dtype: str
    ranks: int
    tokens: int
    hidden: int = 7168
    top_k: int = 8
    experts: int = 64
    form: str = ""
    steps = 1
    flops = 0

    @property
    def section(self):
        return f"{self.what}, {self.ranks} ranks"

    @property
    def shape(self):
        """As in the name of weft's benchmark."""
        return f"{self.ranks} ranks {self.tokens}x{self.hidden} top-{self.top_k} of {self.experts}"

    @property
    def title(self):
        return f"{self.what} {self.dtype} {self.shape} {self.form}".strip()

    @property
    def weight(self):
        """Of the time, as the rows are."""
        return max(0.1, self.tokens / 128)

    def line(self, ranks, **values):
        return {"what": self.what, "peer": torch_peer.PEER + " + gloo", "dtype": self.dtype, "shape": self.shape,
                **({"form": self.form} if self.form else {}), "ranks": ranks, **values}


def cases(ranks, args):
    todo = [Case("moe dispatch", "bfloat16", ranks, 128), Case("moe combine", "bfloat16", ranks, 128),
            Case("moe dispatch", "int8", ranks, 128), Case("moe decode", "bfloat16", ranks, 1)]
    return [case for case in todo if case.what in args.only and case.dtype in args.dtypes]


class Layer:
    """The tokens of one rank, their experts, and the steps of a layer."""

    def __init__(self, case):
        self.case, self.local = case, case.experts // case.ranks
        tokens, hidden = case.tokens, case.hidden
        self.x = random_values(tokens * hidden, "bfloat16").view(tokens, hidden)
        self.ids = torch.rand(tokens, case.experts).topk(case.top_k).indices
        self.weights = torch.full((tokens, case.top_k), 1 / case.top_k)
        self.residual = random_values(tokens * hidden, "bfloat16").view(tokens, hidden)
        self.gamma = random_values(hidden, "bfloat16")

    def tokens_to_send(self):
        """int8: each row with its scale behind it, so that they travel together."""
        if self.case.dtype != "int8":
            return self.x
        values = self.x.float()
        scale = values.abs().amax(1, keepdim=True) / 127
        return torch.cat([(values / scale).round_().to(torch.int8), scale.view(torch.int8)], 1)

    def received(self, expand):
        if self.case.dtype != "int8":
            return expand
        hidden = self.case.hidden
        return expand[:, :hidden], expand[:, hidden:].contiguous().view(torch.float32)

    def exchange(self, rows, sent, arriving):
        out = rows.new_empty(sum(arriving), *rows.shape[1:])
        dist.all_to_all_single(out, rows, arriving, sent)
        return out

    def dispatch(self):
        """Each copy sent. Keeps what combine needs."""
        ids, ranks = self.ids.flatten(), self.case.ranks
        self.order = ids.argsort(stable=True)
        counts = torch.bincount(ids, minlength=self.case.experts)
        counts_here = torch.empty_like(counts)
        dist.all_to_all_single(counts_here, counts)
        self.sent = counts.view(ranks, self.local).sum(1).tolist()
        self.arriving = counts_here.view(ranks, self.local).sum(1).tolist()
        copies = self.tokens_to_send().index_select(0, self.order // self.case.top_k)
        rows = self.exchange(copies, self.sent, self.arriving)
        experts = torch.arange(self.local).repeat(ranks).repeat_interleave(counts_here)
        self.by_expert = experts.argsort(stable=True)
        return self.received(rows.index_select(0, self.by_expert))

    def dispatch_once_per_rank(self):
        """Fewer bytes travel, and the rank that receives a token copies it for its experts."""
        ranks = self.case.ranks
        rank_of = self.ids // self.local
        needed = torch.zeros(len(self.ids), ranks, dtype=torch.bool).scatter_(1, rank_of, True)
        to, token = needed.t().nonzero(as_tuple=True)
        counts = needed.sum(0)
        counts_here = torch.empty_like(counts)
        dist.all_to_all_single(counts_here, counts)
        sent, arriving = counts.tolist(), counts_here.tolist()
        there = rank_of.index_select(0, token) == to[:, None]
        experts = torch.where(there, self.ids.index_select(0, token) % self.local, -1).int()
        experts = self.exchange(experts, sent, arriving)
        rows = self.exchange(self.tokens_to_send().index_select(0, token), sent, arriving)
        row, slot = (experts >= 0).nonzero(as_tuple=True)
        by_expert = experts[row, slot].argsort(stable=True)
        return self.received(rows.index_select(0, row[by_expert]))

    def combine(self, expand):
        tokens, top_k, hidden = self.case.tokens, self.case.top_k, self.case.hidden
        back = self.exchange(expand.index_select(0, inverse(self.by_expert)), self.arriving, self.sent)
        place = inverse(self.order)
        if self.case.form == "products by matmul":
            rows = back.index_select(0, place).view(tokens, top_k, hidden)
            sums = torch.bmm(self.weights.to(rows.dtype)[:, None], rows).squeeze(1)
        else:
            sums = torch.zeros(tokens, hidden)
            for weight, slot in zip(self.weights.t(), place.view(tokens, top_k).t()):
                sums.addcmul_(back.index_select(0, slot), weight[:, None])
        x = (sums + self.residual).to(back.dtype)
        return x, torch.nn.functional.rms_norm(x, (hidden,), self.gamma, 1e-6)


def inverse(order):
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))


class Runner(torch_ranks.Runner):
    def measure(self, case, share):
        forms = [dataclasses.replace(case, form=form) for form in FORMS[case.what]]
        return self.measure_fastest(forms, share, "form")

    def expected(self, case):
        return 0  # milliseconds

    def call(self, case):
        layer = Layer(case)
        if case.form == "each token once per rank":
            return layer.dispatch_once_per_rank
        if case.what == "moe dispatch":
            return layer.dispatch
        if case.what == "moe decode":
            return lambda: layer.combine(layer.dispatch())
        rows = layer.dispatch()
        return lambda: layer.combine(rows)


def measure(rank, ranks, args):
    todo = cases(ranks, args)
    report = torch_peer.Report(args, len(todo), append=ranks != args.ranks[0]) if rank == 0 else None
    Runner(rank, ranks, args).measure_all(todo, report)


def main():
    args = arguments()
    for i, ranks in enumerate(args.ranks):
        part = copy.copy(args)
        part.budget *= sum(args.ranks[:i + 1]) / sum(args.ranks)
        torch_ranks.run(measure, ranks, part)


if __name__ == "__main__":
    main()
