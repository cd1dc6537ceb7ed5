# SPDX-License-Identifier: Apache-2.0
"""Keeps the collectives of a graph in one order on all ranks."""

from __future__ import annotations

import operator

from torch.fx import Graph, Node
from torch.utils._ordered_set import OrderedSet

from weft.torch.compile.graph import calls


def keep_order(graph: Graph) -> None:
    """Lets collectives that do not depend on each other run as the graph has them, as inductor does it for those it knows:
    it may otherwise choose another order where ranks have parts of different sizes."""
    from torch._inductor.fx_passes.control_dependencies import preserve_node_ordering

    order = {node: i for i, node in enumerate(graph.nodes)}
    collectives = [node for node in order if namespace(node) == "weft" or is_c10d(node)]
    after: dict[Node, OrderedSet[Node]] = {}
    for earlier, later in zip(collectives, collectives[1:]):
        if "weft" in (namespace(earlier), namespace(later)) and not depends(later, earlier, order):
            after[later] = OrderedSet([tensor_of(earlier)])
    preserve_node_ordering(graph, after)


def namespace(node: Node) -> str:
    return getattr(node.target, "namespace", "") if node.op == "call_function" else ""


def is_c10d(node: Node) -> bool:
    return namespace(node) == "_c10d_functional" and not str(node.target).startswith("_c10d_functional.wait_tensor")


def tensor_of(node: Node) -> Node:
    """The node, or a part of what it computes if that is several tensors."""
    return next((user for user in node.users if calls(user, operator.getitem)), node)


def depends(later: Node, earlier: Node, order: dict[Node, int]) -> bool:
    seen: set[Node] = set()
    open_nodes = [later]
    while open_nodes:
        node = open_nodes.pop()
        if node is earlier:
            return True
        if node not in seen and order[node] > order[earlier]:
            seen.add(node)
            open_nodes += node.all_input_nodes
    return False
