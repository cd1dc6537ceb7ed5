# SPDX-License-Identifier: Apache-2.0
"""A pass for torch.compile: sums over ranks, with the products before and the norms after them, become fused operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._inductor import config as inductor_config
from torch._inductor.custom_graph_pass import CustomGraphPass, get_custom_graph_passes, get_hash_for_files

import weft.torch  # noqa: F401  registers the operators
from weft.torch.compile.groups import Groups
from weft.torch.compile.order import keep_order
from weft.torch.compile.report import Report, Site
from weft.torch.compile.rewrite import rewrite

__all__ = ["CompilePass", "Report", "Site", "backend", "compile_pass"]

_SOURCES = tuple(sorted(map(str, Path(__file__).parent.glob("*.py"))))


class CompilePass(CustomGraphPass):
    """The pass, for torch._inductor.config.post_grad_custom_pre_pass; compile_pass() makes one."""

    def __init__(self, groups: Groups, report: Report, explain: bool):
        self.report = report
        self._groups = groups
        self._explain = explain

    def __call__(self, graph: torch.fx.Graph) -> None:
        self.replace(graph)
        keep_order(graph)

    def replace(self, graph: torch.fx.Graph) -> None:
        """The pass for graphs that are run as they are, node by node."""
        self.report.add(rewrite(graph, self.report.graphs, self._groups), self._explain)

    def uuid(self) -> Any:
        signature = self._groups.signature()
        return None if signature is None else (get_hash_for_files(_SOURCES), signature)


def compile_pass(*, groups: Mapping[str, Any] | None = None, report: Report | None = None,
                 explain: bool = False) -> CompilePass:
    """The pass, for programs that choose inductor's options themselves:

        torch.compile(model, options={"post_grad_custom_pre_pass": weft.torch.compile_pass()})

    groups: by names of process groups, the weft.Group, ProcessGroup or key to sum over instead, or None to leave their sums
    alone. report: what to add the sites to; the pass has it as `report`. explain: also log what was not replaced, and why.
    """
    return CompilePass(Groups(groups), Report() if report is None else report, explain)


def backend(module: torch.fx.GraphModule, inputs: Sequence[Any], *, mode: str | None = None,
            options: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """torch.compile(model, backend="weft"): inductor with the pass.

    options: `groups`, `report` and `explain` as for compile_pass(); eager=True to run the graph operator by operator, which
    needs no C++ compiler; all others, and mode, are inductor's.
    """
    rest = dict(options or {})
    one_pass = compile_pass(**{name: rest.pop(name) for name in ("groups", "report", "explain") if name in rest})
    if rest.pop("eager", False):
        if rest or mode:
            raise ValueError(f"backend 'weft': eager=True takes no mode and no options of inductor, but has "
                             f"{', '.join(map(str, [*([mode] if mode else []), *rest]))}. Leave one of both out.")
        return _eager(one_pass)(module, inputs)
    name = "post_grad_custom_pre_pass"
    others = get_custom_graph_passes(rest.pop(name, getattr(inductor_config, name)))
    return torch._TorchCompileInductorWrapper(mode, {**rest, name: [*others, one_pass]}, None)(module, inputs)


def _eager(one_pass: CompilePass) -> Callable[..., Any]:
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.aot_autograd import make_boxed_func
    from torch._inductor.decomposition import select_decomp_table

    def compiler(module: torch.fx.GraphModule, _: Sequence[Any]) -> Callable[..., Any]:
        one_pass.replace(module.graph)
        module.recompile()
        return make_boxed_func(module.forward)

    return aot_autograd(fw_compiler=compiler, decompositions=select_decomp_table())
