# SPDX-License-Identifier: Apache-2.0
"""What the tests of the pass for torch.compile share: graphs of two ranks in one process that never runs them, and norms."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

import weft.torch
from weft.torch.compile import Report

bf16 = torch.bfloat16
NORM, SUM, SCATTER = "matmul_allreduce_add_rmsnorm", "matmul_allreduce", "matmul_reduce_scatter"


def start_fake_group() -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)


class Seen(Exception):
    """Ends a compilation after the pass."""


def compiled(function, *operands, grad: bool = False, edit=None, ordered: bool = False,
             **options) -> tuple[Report, list[torch.fx.Graph]]:
    """The report on the graphs of the function, and those graphs after the pass; nothing is run or generated.
    edit: what to do to a graph before the pass; ordered: as for inductor, which may choose another order of nodes."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.decomposition import select_decomp_table

    graphs = []
    one_pass = weft.torch.compile_pass(**{"groups": {"0": "group"}, **options})

    def compiler(module, _):
        if edit:
            edit(module.graph)
        (one_pass if ordered else one_pass.replace)(module.graph)
        module.graph.lint()
        graphs.append(module.graph)
        raise Seen

    torch._dynamo.reset()
    with torch.set_grad_enabled(grad):
        try:
            backend = aot_autograd(fw_compiler=compiler, decompositions=select_decomp_table())
            torch.compile(function, backend=backend)(*operands)
        except Exception as error:
            if "Seen" not in type(error).__name__ + str(error):
                raise
    return one_pass.report, graphs


def only_site(function, *operands, **options):
    report, _ = compiled(function, *operands, **options)
    assert len(report.sites) == 1, str(report)
    return report.sites[0]


def sites_of(cases: dict) -> dict:
    """By name, the sites of layers with one collective each, (layer, operands), compiled as one graph: that is quick."""
    counts = [len(values) for _, values in cases.values()]

    def layers(*values):
        rest, results = iter(values), []
        for (layer, _), count in zip(cases.values(), counts):
            results.append(layer(*[next(rest) for _ in range(count)]))
        return results

    report, _ = compiled(layers, *(value for _, values in cases.values() for value in values))
    assert len(report.sites) == len(cases), str(report)
    return dict(zip(cases, report.sites))


def operands(*rows, dtype=bf16, k=16, n=32):
    """x1, weight as (n, k), residual, gamma"""
    rows = rows or (2, 4)
    return (torch.randn(*rows, k, dtype=dtype), torch.randn(n, k, dtype=dtype), torch.randn(*rows, n, dtype=dtype),
            torch.randn(n, dtype=dtype))


def all_reduce(x, op="sum"):
    return functional.all_reduce(x, op, dist.group.WORLD)


def reduce_scatter(x, axis=0):
    return functional.reduce_scatter_tensor(x, "sum", axis, dist.group.WORLD)


def llama_norm(x, weight, epsilon=1e-6):
    """As transformers and many others write it."""
    wide = x.to(torch.float32)
    variance = wide.pow(2).mean(-1, keepdim=True)
    return weight * (wide * torch.rsqrt(variance + epsilon)).to(x.dtype)
