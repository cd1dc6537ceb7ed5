# SPDX-License-Identifier: Apache-2.0
"""Questions about nodes of a graph of aten operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

aten = torch.ops.aten
prims = torch.ops.prims

VIEWS = {aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dim}


class Refused(Exception):
    """Why a pattern is not replaced."""


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def value(node: Any) -> torch.Tensor:
    """The fake tensor that stands for what the node computes."""
    found = node.meta.get("val") if isinstance(node, Node) else None
    require(isinstance(found, torch.Tensor), f"{node} is not a tensor that tracing knows")
    return found


def calls(node: Any, *targets: Any) -> bool:
    return isinstance(node, Node) and node.op == "call_function" and node.target in targets


def same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two shapes are equal for every size that the graph is for."""
    return len(left) == len(right) and all(statically_known_true(a == b) for a, b in zip(left, right))


def sole_user(node: Node, what: str) -> Node:
    users = list(node.users)
    require(bool(users), f"{what} ({node}) is not used")
    require(len(users) == 1, f"{what} ({node}) is also used by {names(users[1:])}")
    return users[0]


def names(nodes: Sequence[Node]) -> str:
    listed = ", ".join(node.name for node in nodes[:3])
    return f"{listed}, …" if len(nodes) > 3 else listed


def kind(node: Any) -> str:
    """How people call what a node does."""
    if not isinstance(node, Node):
        return repr(node)
    return f"{node} ({node.target})" if node.op == "call_function" else f"{node} ({node.op})"


def keeps_order(node: Node) -> bool:
    """Whether it is a view of the same elements in the same order: only the axes differ."""
    if calls(node, aten.permute.default):
        shape = value(node.args[0]).shape
        long = [axis % len(shape) for axis in node.args[1] if not same([shape[axis]], [1])]
        return long == sorted(long)
    return calls(node, *VIEWS)


def operands(node: Node) -> tuple[Any, Any] | None:
    """Both operands of a sum or product of two tensors, or of a tensor and a number."""
    if calls(node, aten.add.Tensor, aten.add.Scalar, aten.mul.Tensor, aten.mul.Scalar):
        if node.kwargs.get("alpha", 1) == 1 and len(node.args) == 2:
            return node.args[0], node.args[1]
    return None


def other_operand(node: Node, one: Node) -> Any:
    """The operand beside `one`; None if there is none, or if it is `one` twice."""
    pair = operands(node)
    if pair is None or (pair[0] is one) == (pair[1] is one):
        return None
    return pair[1] if pair[0] is one else pair[0]


def is_add(node: Any) -> bool:
    return calls(node, aten.add.Tensor, aten.add.Scalar)


def is_mul(node: Any) -> bool:
    return calls(node, aten.mul.Tensor, aten.mul.Scalar)


def is_cast(node: Any, dtype: torch.dtype) -> bool:
    if calls(node, prims.convert_element_type.default):
        return node.args[1] == dtype
    if calls(node, aten._to_copy.default):  # with nothing but another dtype
        return dict(node.kwargs) == {"dtype": dtype} and len(node.args) == 1
    return False


def mutates(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    return schema is not None and schema.is_mutable
