# SPDX-License-Identifier: Apache-2.0
"""What the pass did."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger("weft.torch.compile")


@dataclass(frozen=True)
class Site:
    """One sum over the ranks in one graph.

    operator: the one of torch.ops.weft that is there now; empty: nothing was replaced. nodes: what it stands for.
    reason: why nothing, or no more than that, was replaced; empty: everything that weft has an operator for was.
    """
    graph: int
    collective: str
    group: str
    operator: str = ""
    nodes: tuple[str, ...] = ()
    shape: tuple[str, ...] = ()  # m, k, n; symbols where the graph is for several sizes
    dtype: str = ""
    reason: str = ""

    def __str__(self) -> str:
        where = f"graph {self.graph}: {self.collective}"
        if not self.operator:
            return f"{where}: left as it is: {self.reason}"
        m, k, n = self.shape
        operands = f"({m}, {k})·({k}, {n}) {self.dtype}"
        text = f"{where}: {self.operator}, {operands}, group '{self.group}', for {', '.join(self.nodes)}"
        return f"{text}; no more than that: {self.reason}" if self.reason else text


@dataclass
class Report:
    """The sites of all graphs that were compiled with it; graphs that came from a cache of PyTorch's are not there."""
    graphs: int = 0
    sites: list[Site] = field(default_factory=list)

    @property
    def replaced(self) -> list[Site]:
        return [site for site in self.sites if site.operator]

    @property
    def left(self) -> list[Site]:
        return [site for site in self.sites if not site.operator]

    def count(self, operator: str) -> int:
        return sum(site.operator == operator for site in self.sites)

    def add(self, sites: list[Site], explain: bool) -> None:
        """Adds a graph and logs it: what was replaced at INFO, why other things were not at DEBUG, or INFO to explain."""
        self.graphs += 1
        self.sites += sites
        for site in sites:
            log.log(logging.INFO if explain or site.operator else logging.DEBUG, "%s", site)

    def __str__(self) -> str:
        head = f"weft replaced {len(self.replaced)} of {len(self.sites)} sums over ranks in {self.graphs} graphs"
        return "\n".join([head, *map(str, self.sites)])
