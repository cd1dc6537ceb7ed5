# SPDX-License-Identifier: Apache-2.0
"""Puts the fused operators where the patterns are."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from weft.torch.compile.graph import Refused, aten, calls, kind, mutates, require, same, sole_user, value
from weft.torch.compile.groups import Groups
from weft.torch.compile.norm import AddNorm, find_add_norm
from weft.torch.compile.product import Product, find_product, name
from weft.torch.compile.report import Site

c10d_functional = torch.ops._c10d_functional
SUMS = (c10d_functional.all_reduce.default, c10d_functional.reduce_scatter_tensor.default)


def rewrite(graph: Graph, number: int, groups: Groups) -> list[Site]:
    """Replaces what it can in the graph."""
    drop_copies(graph)
    return [rewrite_site(graph, number, node, groups) for node in list(graph.nodes) if calls(node, *SUMS)]


def drop_copies(graph: Graph) -> None:
    """What tracing leaves of a sum in place: a copy of the result over a tensor that it is just like."""
    for node in list(graph.nodes):
        if calls(node, aten.copy.default) and calls(node.args[1], c10d_functional.wait_tensor.default):
            old, new = value(node.args[0]), value(node.args[1])
            if old.dtype == new.dtype and same(old.shape, new.shape) and same(old.stride(), new.stride()):
                node.replace_all_uses_with(node.args[1])
                graph.erase_node(node)


@dataclass
class Sum:
    """A product and its sum over the ranks; key: what the fused operator takes for the group."""
    product: Product
    collective: Node
    wait: Node
    key: str = ""

    @property
    def nodes(self) -> list[Node]:
        return [*self.product.nodes, self.collective, self.wait]

    @property
    def scatters(self) -> bool:
        return calls(self.collective, c10d_functional.reduce_scatter_tensor.default)


def rewrite_site(graph: Graph, number: int, collective: Node, groups: Groups) -> Site:
    group = collective.args[-1]
    label: dict[str, Any] = {"graph": number, "collective": collective.name, "group": str(group)}
    try:
        found = find_sum(collective)
        label |= {"shape": tuple(map(str, found.product.shape)), "dtype": name(found.product.result.dtype)}
        stable(found.product.nodes[0], found.wait)
        if found.scatters:
            check_scatter(found)
            found.key = groups.key(group, collective.args[2])
            return Site(**label, operator="matmul_reduce_scatter", nodes=put_reduce_scatter(graph, found))
        require(not found.product.rejoined, f"{kind(collective.args[0])} cuts the product's rows anew")
        found.key = groups.key(group)
    except Refused as refused:
        return Site(**label, reason=str(refused))
    try:
        norm = find_add_norm(found.wait, found.product.shape[2])
        place = place_of(graph, found, norm)
    except Refused as refused:
        return Site(**label, operator="matmul_allreduce", nodes=put_allreduce(graph, found), reason=str(refused))
    return Site(**label, operator="matmul_allreduce_add_rmsnorm", nodes=put_add_rmsnorm(graph, found, norm, place))


def find_sum(collective: Node) -> Sum:
    require(collective.args[1] == "sum", f"the reduction is '{collective.args[1]}', not 'sum'")
    wait = sole_user(collective, "the collective's result")
    require(calls(wait, c10d_functional.wait_tensor.default), f"{kind(wait)} uses the collective's result without waiting")
    require(value(wait).is_contiguous(), "the sum is not contiguous")
    return Sum(find_product(collective.args[0]), collective, wait)


def check_scatter(found: Sum) -> None:
    x1 = value(found.product.x1)
    require(x1.dim() == 2, f"the product's rows have {x1.dim() - 1} axes (bmm); matmul_reduce_scatter takes one")
    require(x1.stride(1) == 1, f"{found.product.x1} is transposed; matmul_reduce_scatter takes rows")
    require(written_out(found.wait).count(-1) <= 1, f"more than one extent of {found.wait} varies")


def written_out(node: Node) -> list[int]:
    """The shape of what it computes, for a view; -1 where it varies."""
    return [extent if isinstance(extent, int) else -1 for extent in value(node).shape]


def stable(first: Node, last: Node) -> None:
    """The operands are read at `last` instead of at `first`."""
    node = first
    while node is not last:
        require(not mutates(node), f"{kind(node)}, between the product and the sum's use, changes a tensor")
        node = node.next


def place_of(graph: Graph, found: Sum, norm: AddNorm) -> Node:
    """The node after which all operands are there."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    place = max((norm.total, norm.residual, norm.gamma), key=order.__getitem__)
    stable(found.product.nodes[0], place)
    gone = set(norm.nodes)
    for user in norm.total.users:
        stays = user not in gone or any(other not in gone for other in user.users if user is not norm.out)
        require(not stays or order[user] > order[place], f"{user} uses sum + residual before {place} is computed")
    require(value(norm.total).is_contiguous() and value(norm.out).is_contiguous(), "sum + residual is not contiguous")
    return place


def put_add_rmsnorm(graph: Graph, found: Sum, norm: AddNorm, place: Node) -> tuple[str, ...]:
    total, out = value(norm.total), value(norm.out)
    with graph.inserting_before(place.next):
        fused = call_weft(graph, "matmul_allreduce_add_rmsnorm", found, (norm.residual, norm.gamma), (total, out),
                          epsilon=norm.epsilon)
        parts = [call(graph, operator.getitem, (fused, i), {}, node, value(node))
                 for i, node in enumerate((norm.total, norm.out))]
    norm.total.replace_all_uses_with(parts[0])
    norm.out.replace_all_uses_with(parts[1])
    return erase(graph, [*found.nodes, *norm.nodes])


def put_allreduce(graph: Graph, found: Sum) -> tuple[str, ...]:
    with graph.inserting_before(found.wait):
        result = call_weft(graph, "matmul_allreduce", found, (), found.product.result)
        for view in found.product.views:
            known = {view.args[0]: result}
            result = graph.node_copy(view, lambda node, known=known: known.get(node, node))
    found.wait.replace_all_uses_with(result)
    return erase(graph, found.nodes)


def put_reduce_scatter(graph: Graph, found: Sum) -> tuple[str, ...]:
    rows = value(found.wait)
    with graph.inserting_before(found.wait):
        result = call_weft(graph, "matmul_reduce_scatter", found, (), rows.reshape(-1, rows.shape[-1]))
        if rows.dim() != 2:
            result = call(graph, aten.reshape.default, (result, written_out(found.wait)), {}, found.wait, rows)
    found.wait.replace_all_uses_with(result)
    return erase(graph, found.nodes)


def call_weft(graph: Graph, name: str, found: Sum, more: tuple[Node, ...], result: Any, **attributes: Any) -> Node:
    product = found.product
    x2 = product.x2
    if value(x2).dim() == 3:
        x2 = call(graph, aten.squeeze.dim, (x2, 0), {}, x2, product.weight)
    if product.bias is not None:
        attributes["bias"] = product.bias
    target = getattr(torch.ops.weft, name).default
    return call(graph, target, (product.x1, x2, *more, found.key), attributes, found.wait, result)


def call(graph: Graph, target: Any, args: tuple, kwargs: dict, like: Node, result: Any) -> Node:
    """A new node. Later passes of the compiler want to know what it computes and which line of the program it is for."""
    node = graph.call_function(target, args, kwargs)
    node.meta = {key: like.meta[key] for key in ("stack_trace", "nn_module_stack", "source_fn_stack") if key in like.meta}
    node.meta["val"] = result
    return node


def erase(graph: Graph, nodes: list[Node]) -> tuple[str, ...]:
    """Names of the nodes; those that nothing uses any more are gone."""
    for node in reversed(nodes):
        if not node.users:
            graph.erase_node(node)
    return tuple(node.name for node in nodes)
