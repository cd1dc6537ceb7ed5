#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An FFN as a CPU user composes it with PyTorch: matmul, activation, matmul; for each expert in turn that has rows.

One thread. Random data. int8: _int_mm, scale, gelu, quantise, _int_mm, scale. Weights are measured as (k, n) and as
(n, k), and the faster of the two counts. Every figure is the median of --repeat calls, of fewer where these do not fit
in the budget, or left out with the reason. Gives one JSON object per line; progress and what was left out go to
stderr.
"""

import argparse
import dataclasses
import itertools
import math

import torch_peer  # sets what PyTorch reads when it is imported
import torch
from torch.nn.functional import gelu, silu
from torch_peer import FLOATS, random_values

FULL_WEIGHT_FLOPS = 4 * 1024 * 4096 * 11008
COLD_BYTES = 256 << 20  # a decode step finds its weights in memory: so many are read before they come again
OF_EACH = 8  # experts of which a token takes one
ORDERS = ["transposed", "row-major"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["ffn", "ffn experts", "ffn decode"],
                        default=["ffn", "ffn experts", "ffn decode"], help="sections")
    torch_peer.add_options(parser, 80)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; deal is that of FfnProblem in bench/ffn_job.h."""
    what: str
    dtype: str
    tokens: int
    k1: int
    k2: int
    n2: int
    activation: str = "gelu"
    deal: str = "dense"
    experts: int = 0
    order: str = ""
    steps = 1

    @property
    def section(self):
        return self.what

    @property
    def shape(self):
        """As in the name of weft's benchmark."""
        who = {"dense": self.activation, "equal": f"{self.experts} equal experts",
               "skewed": f"{self.experts} skewed experts", "top": f"top-{self.experts // OF_EACH} of {self.experts}"}
        return f"{self.tokens}x{self.k1}x{self.k2}x{self.n2} {who[self.deal]}"

    @property
    def title(self):
        return f"{self.what} {self.dtype} {self.shape} {self.order}".strip()

    @property
    def n1(self):
        return 2 * self.k2 if self.activation == "swiglu" else self.k2

    def rows(self):
        """Of each expert."""
        if self.deal == "dense":
            return [self.tokens]
        of = [0] * self.experts
        if self.deal == "top":
            for token, i in itertools.product(range(self.tokens), range(self.experts // OF_EACH)):
                of[OF_EACH * i + i * token % OF_EACH] += 1
            return of
        others = self.experts - (self.deal == "skewed")
        of[0] = self.tokens // 2 if self.deal == "skewed" else 0
        for row in range(of[0], self.tokens):
            of[self.experts - 1 - row % others] += 1
        return of

    @property
    def flops(self):
        return 2 * sum(self.rows()) * (self.k1 * self.n1 + self.k2 * self.n2)

    @property
    def weight(self):
        """Of the time, as the work is. Making the weights takes time, too."""
        return max(0.3, self.flops / FULL_WEIGHT_FLOPS)

    def line(self, **values):
        return {"what": self.what, "peer": torch_peer.PEER, "dtype": self.dtype, "shape": self.shape,
                **({"x2": self.order} if self.order else {}), "ranks": 1, **values}


def cases(args):
    """The most important first: what comes last is what a slow machine has no time for."""
    def dense(what, tokens, dtypes, activation="gelu"):
        return [Case(what, dtype, tokens, 4096, 11008, 4096, activation) for dtype in dtypes]

    def experts(what, tokens, deal, count):
        return [Case(what, dtype, tokens, 2048, 1408, 2048, deal=deal, experts=count) for dtype in FLOATS]

    todo = (dense("ffn", 1024, ["bfloat16", "int8", "float16"]) + experts("ffn decode", 8, "top", 64)
            + experts("ffn experts", 2048, "equal", 16)
            + dense("ffn decode", 1, ["bfloat16", "int8"]) + dense("ffn decode", 8, ["bfloat16", "int8"])
            + experts("ffn experts", 2048, "skewed", 16) + dense("ffn", 1024, FLOATS, "swiglu"))
    return [case for case in todo if case.what in args.only and case.dtype in args.dtypes]


def weights(case, k, n, copies):
    """Lists of (k, n) matrices, one for each expert, in the case's order; one list for each copy."""
    experts = max(1, case.experts)
    stored = random_values(copies * experts * k * n, case.dtype, 1 / 64)
    if case.order == "transposed":
        stored = stored.view(copies, experts, n, k).transpose(2, 3)
    else:
        stored = stored.view(copies, experts, k, n)
    return [list(copy) for copy in stored]


def activate(case, h):
    if case.activation == "swiglu":
        value, gate = h.chunk(2, dim=-1)
        return value * silu(gate)
    return gelu(h, approximate="tanh")


def float_call(case, x, w1, w2):
    if case.deal == "dense":
        return lambda: activate(case, x @ next(w1)[0]) @ next(w2)[0]
    y, ends = torch.empty(x.shape[0], case.n2, dtype=x.dtype), list(itertools.accumulate(case.rows()))
    touched = [(e, end - rows, end) for e, (rows, end) in enumerate(zip(case.rows(), ends)) if rows]

    def experts():
        first, second = next(w1), next(w2)
        for e, begin, end in touched:
            torch.matmul(activate(case, x[begin:end] @ first[e]), second[e], out=y[begin:end])
        return y

    return experts


def int8_call(case, x, w1, w2):
    """Scales per column, such that values stay near 1, and near 30 in the int8 activation."""
    deviation = 127 / math.sqrt(3)
    dequant1 = torch.full((case.n1,), 1 / (deviation ** 2 * math.sqrt(case.k1)))
    dequant2 = torch.full((case.n2,), 1 / (30 * deviation * math.sqrt(case.k2)))

    def layer():
        h = activate(case, torch._int_mm(x, next(w1)[0]) * dequant1)
        q = (h * 30.0 + 1.5).round_().clamp_(-128, 127).to(torch.int8)
        return (torch._int_mm(q, next(w2)[0]) * dequant2).to(torch.float16)

    return layer


class Runner(torch_peer.Runner):
    def measure(self, case, share):
        """The faster of the two orders. Where there is not enough time for both, of the one that is faster with few
        tokens and columns; or where the other takes ten times as long."""
        orders = sorted((dataclasses.replace(case, order=order) for order in ORDERS), key=self.expected)
        first, second = map(self.expected, orders)
        if 2 * (first + second) > share or second > 10 * first:
            orders = orders[:1]
        return self.measure_fastest(orders, share, "x2")

    def expected(self, case):
        """From a product of k1 x k2 with as many rows."""
        if case.tokens <= torch_peer.PROBE_ROWS:
            return 0
        product = self.product_seconds(case.tokens, case.k1, case.k2, case.dtype, case.order)
        return product * (case.n1 * case.k1 + case.k2 * case.n2) / (case.k1 * case.k2)

    def call(self, case):
        rows = sum(case.rows())
        x = random_values(rows * case.k1, case.dtype).view(rows, case.k1)
        copies = 1
        if case.what == "ffn decode":
            values = max(1, case.experts) * (case.k1 * case.n1 + case.k2 * case.n2)
            copies = -(-COLD_BYTES // (values * x.element_size()))
        w1, w2 = (itertools.cycle(weights(case, *size, copies)) for size in ((case.k1, case.n1), (case.k2, case.n2)))
        return int8_call(case, x, w1, w2) if case.dtype == "int8" else float_call(case, x, w1, w2)


def main():
    args = arguments()
    torch_peer.one_core(0)
    torch.manual_seed(0)
    with torch.inference_mode():
        todo = cases(args)
        Runner(args).measure_all(todo, torch_peer.Report(args, len(todo)))


if __name__ == "__main__":
    main()
