# SPDX-License-Identifier: Apache-2.0
"""The product whose sum over the ranks a collective makes."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from weft.torch.compile.graph import (
    VIEWS,
    Refused,
    aten,
    calls,
    is_add,
    keeps_order,
    kind,
    operands,
    require,
    same,
    sole_user,
    value,
)

DTYPES = (torch.float16, torch.bfloat16)


@dataclass
class Product:
    """result = x1 · x2 + bias, then `views`, the first one first, up to the collective. nodes: all of these, in that order.

    rejoined: the rows were cut along another axis than the first, and joined along the first without changing their order.
    """
    x1: Node
    x2: Node
    bias: Node | None
    result: torch.Tensor
    views: list[Node]
    nodes: list[Node]
    rejoined: bool

    @property
    def weight(self) -> torch.Tensor:
        """What x2 computes, without the leading axis of one that bmm may have there."""
        x2 = value(self.x2)
        return x2.squeeze(0) if x2.dim() == 3 else x2

    @property
    def shape(self) -> tuple[Any, Any, Any]:
        """m, k, n"""
        *rows, k = value(self.x1).shape
        return math.prod(rows), k, self.weight.shape[1]


def find_product(operand: Node) -> Product:
    """The product behind a collective's operand. Raises Refused."""
    views: list[Node] = []
    nodes: list[Node] = []
    bias: Node | None = None
    node = operand
    rejoined = parts_of(operand)
    if rejoined:
        sole_user(operand, "the product")
        nodes += [operand, *rejoined]
        node = rejoined[-1].args[0]
    while True:
        sole_user(node, "the product")
        nodes.append(node)
        if keeps_order(node):
            views.append(node)
            node = node.args[0]
        elif is_add(node) and bias is None and (split := split_bias(node)):
            node, bias = split
        else:
            break
    found = Product(*factors(node, bias), value(node), views[::-1], nodes[::-1], bool(rejoined))
    check(found)
    require(same(value(operand).shape[-1:], found.weight.shape[1:]), f"{kind(operand)} does not keep the product's columns")
    return found


def parts_of(node: Node) -> list[Node]:
    """The parts and their split, if the node only joins along the first axis what was split along a later one, with nothing
    but axes of one before it. So reduce_scatter along that axis is traced."""
    if not calls(node, aten.cat.default) or node.args[1:] not in ((), (0,)):
        return []
    parts = list(node.args[0])
    split = parts[0].args[0] if calls(parts[0], operator.getitem) else None
    if not calls(split, aten.split.Tensor) or list(split.users) != parts or len(parts) != len(split.meta["val"]):
        return []
    in_order = all(part.args == (split, i) and list(part.users) == [node] for i, part in enumerate(parts))
    source = value(split.args[0]).shape
    axis = split.args[2] % len(source) if len(split.args) > 2 else 0
    return [*parts, split] if in_order and axis < len(source) - 1 and same(source[:axis], [1] * axis) else []


def split_bias(node: Node) -> tuple[Node, Node] | None:
    """(rest, bias) if the node adds one number to each column."""
    left, right = operands(node) or (None, None)
    if not (isinstance(left, Node) and isinstance(right, Node)):
        return None
    if value(left).dim() == 1:
        left, right = right, left
    columns = value(left).shape[-1:]
    return (left, right) if value(left).dim() > 1 and same(value(right).shape, columns) else None


def factors(node: Node, bias: Node | None) -> tuple[Node, Node, Node | None]:
    """x1, x2 and bias of a node that multiplies."""
    if calls(node, aten.mm.default):
        x1, x2 = node.args
    elif calls(node, aten.addmm.default):
        require(bias is None, "the product has two biases")
        require(all(node.kwargs.get(name, 1) == 1 for name in ("alpha", "beta")), f"{kind(node)} scales what it adds")
        bias, x1, x2 = node.args
    elif calls(node, aten.bmm.default):
        x1, x2 = node.args[0], one_weight(node.args[1])
    else:
        raise Refused(f"what it sums is {kind(node)}, not a product (mm, addmm, bmm)")
    return x1, x2, bias


def one_weight(node: Node) -> Node:
    """The matrix that all matrices of a bmm's second operand are; its axis of one matrix may still be there."""
    matrix = value(node).shape[-2:]
    one = node
    while value(one).dim() > 2 and not same(value(one).shape[:-2], [1]):
        repeats = calls(one, aten.expand.default, *VIEWS)
        require(repeats and same(value(one.args[0]).shape[-2:], matrix), f"bmm multiplies by several matrices, {kind(node)}")
        one = one.args[0]
    return one


def check(product: Product) -> None:
    x1, x2, result = value(product.x1), product.weight, product.result
    require(x1.dtype in DTYPES, f"the product is {name(x1.dtype)}, not float16 or bfloat16")
    require(x2.dtype == x1.dtype and result.dtype == x1.dtype,
            f"the product mixes {name(x1.dtype)}, {name(x2.dtype)} and {name(result.dtype)}")
    require(x1.device.type == "cpu" and x2.device.type == "cpu", f"the product is on {x1.device}, not on the CPU")
    require(all(statically_known_true(extent > 0) for extent in (*x1.shape, *x2.shape)), "an extent of the product may be 0")
    require(1 in x2.stride(), f"the weight ({product.x2}) has strides {tuple(x2.stride())}: none is 1")
    if product.bias is not None:
        bias = value(product.bias)
        require(bias.dtype == x1.dtype and same(bias.shape, x2.shape[1:]) and bias.stride(0) == 1,
                f"the bias ({product.bias}) is not one {name(x1.dtype)} for each column")


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
