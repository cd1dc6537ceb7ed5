# SPDX-License-Identifier: Apache-2.0
"""The residual and the RMS norm after a sum over the ranks."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from weft.torch.compile.graph import (
    Refused,
    aten,
    calls,
    is_add,
    is_cast,
    is_mul,
    keeps_order,
    kind,
    names,
    other_operand,
    require,
    same,
    sole_user,
    value,
)

f32 = torch.float32


@dataclass
class AddNorm:
    """total = sum + residual; out = RMSNorm(total) · gamma. nodes: all that the fused operator computes, total first."""
    residual: Node
    total: Node
    gamma: Node
    epsilon: float
    out: Node
    nodes: list[Node]


def find_add_norm(summed: Node, columns: Any) -> AddNorm:
    """What follows the sum over the ranks, which has that many columns. Raises Refused."""
    views: list[Node] = []
    user = sole_user(summed, "the sum over the ranks")
    while keeps_order(user):
        views.append(user)
        summed, user = user, sole_user(user, "the sum over the ranks")
    require(is_add(user), f"no residual is added to the sum: {kind(user)} uses it")
    residual = other_operand(user, summed)
    require(isinstance(residual, Node), f"{kind(user)} adds no residual")
    tensor, total = value(residual), value(user)
    require(same(tensor.shape, value(summed).shape),
            f"{residual} has another shape than the sum: a bias after it, no residual")
    require(total.dtype == tensor.dtype == value(summed).dtype, f"the residual ({residual}) has another dtype than the sum")
    require(same(total.shape[-1:], [columns]), f"{kind(summed)} does not keep the columns of the sum")
    require(total.dim() in (2, 3), f"the residual has {total.dim()} axes, not 2 or 3")
    require(tensor.stride(-1) == 1, f"the residual ({residual}) has no adjacent columns")
    found = find_norm(user)
    found.residual = residual
    found.nodes = views + found.nodes
    return found


def find_norm(total: Node) -> AddNorm:
    reason = Refused(f"no RMS norm of sum + residual follows: {total} is used by {names(list(total.users))}")
    for user in total.users:
        try:
            if calls(user, aten._fused_rms_norm.default, aten.rms_norm.default):
                return checked(total, *kept_norm(total, user))
            if is_cast(user, f32):
                return checked(total, *written_norm(total, user))
            require(not squares(user, total), f"the norm of {total} computes in {value(total).dtype}, not in float32")
        except Refused as refused:
            reason = refused
    raise reason


def checked(total: Node, gamma: Any, epsilon: Any, out: Node, nodes: list[Node]) -> AddNorm:
    tensor, weight = value(total), value(gamma)
    require(same(weight.shape, tensor.shape[-1:]) and weight.stride(0) == 1,
            f"the norm's weight ({gamma}) is not one number for each column")
    require(weight.dtype == tensor.dtype, f"the norm's weight ({gamma}) is {weight.dtype}, not {tensor.dtype}")
    require(value(out).dtype == tensor.dtype, f"the norm gives {value(out).dtype}, not {tensor.dtype}")
    require(isinstance(epsilon, (int, float)), f"the norm's epsilon ({epsilon}) is not a constant")
    require(0 < epsilon < 1, f"the norm's epsilon is {epsilon}, not between 0 and 1")
    return AddNorm(total, total, gamma, float(epsilon), out, [total, *nodes])


def kept_norm(total: Node, norm: Node) -> tuple[Any, Any, Node, list[Node]]:
    """aten's own operator: gamma, epsilon, out, nodes."""
    source, shape, gamma, epsilon = (*norm.args, None, None)[:4]
    require(source is total and len(shape) == 1, f"{kind(norm)} is over {len(shape)} axes, not over the last")
    require(gamma is not None, f"{kind(norm)} has no weight")
    if calls(norm, aten.rms_norm.default):
        return gamma, epsilon, norm, [norm]
    for part in norm.users:
        require(part.args[1] == 0 or not part.users,
                f"{part}, a part of the norm, is also used by {names(list(part.users))}")
    parts = [part for part in norm.users if calls(part, operator.getitem) and part.args[1] == 0]
    require(bool(parts), f"{kind(norm)} is not used")
    return gamma, epsilon, parts[0], [norm, *norm.users]


def written_norm(total: Node, wide: Node) -> tuple[Any, Any, Node, list[Node]]:
    """One that is written out, of the float32 copy of the total: gamma, epsilon, out, nodes."""
    squared = next((user for user in wide.users if squares(user, wide)), None)
    require(squared is not None, f"no RMS norm of sum + residual follows: {wide} is used by {names(list(wide.users))}")
    mean = part_user(squared)
    require(is_row_mean(mean), f"the norm's {kind(mean)} is not the mean over the last axis with keepdim")
    shifted = part_user(mean)
    require(is_add(shifted), f"epsilon is not added to the mean of the squares: {kind(shifted)} uses it")
    scaled, roots = scale_of(wide, shifted)
    gamma, out, tail = weighted(scaled, value(total).dtype)
    return gamma, number(other_operand(shifted, mean)), out, [wide, squared, mean, shifted, *roots, scaled, *tail]


def part_user(node: Node) -> Node:
    return sole_user(node, "a part of the norm")


def squares(node: Node, of: Node) -> bool:
    if calls(node, aten.pow.Tensor_Scalar):
        return node.args == (of, 2)
    return (calls(node, aten.mul.Tensor) and node.args == (of, of)) or calls(node, aten.square.default)


def is_row_mean(node: Node) -> bool:
    if not calls(node, aten.mean.dim) or node.args[2:] != (True,) or node.kwargs.get("dtype", f32) != f32:
        return False
    return list(node.args[1]) in ([-1], [value(node.args[0]).dim() - 1])


def number(node: Any) -> Any:
    """A constant that tracing made a tensor of is that constant."""
    return node.args[1] if calls(node, aten.full.default) else node


def scale_of(wide: Node, shifted: Node) -> tuple[Node, list[Node]]:
    """The rows times the reciprocal root, and the nodes of the root."""
    root = part_user(shifted)
    nodes = [root]
    if calls(root, aten.sqrt.default):
        user = part_user(root)
        if calls(user, aten.div.Tensor):
            require(user.args == (wide, root), f"{kind(user)} does not divide the rows by their root")
            return user, nodes
        require(calls(user, aten.reciprocal.default), f"the norm's {kind(user)} is not the reciprocal of the root")
        root = user
        nodes.append(root)
        if is_mul(user := part_user(root)) and other_operand(user, root) == 1:  # what tracing makes of 1 / root
            root = user
            nodes.append(root)
    else:
        inverse = calls(root, aten.rsqrt.default) or (calls(root, aten.pow.Tensor_Scalar) and root.args[1] == -0.5)
        require(inverse, f"epsilon is followed by {kind(root)}, not by the reciprocal root")
    scaled = part_user(root)
    require(is_mul(scaled) and other_operand(scaled, root) is wide,
            f"{kind(scaled)} does not multiply the rows by their root")
    return scaled, nodes


def weighted(scaled: Node, dtype: torch.dtype) -> tuple[Any, Node, list[Node]]:
    """gamma, out and nodes, whether the weight comes after the cast back or before it."""
    user = part_user(scaled)
    if is_cast(user, dtype):
        product = part_user(user)
        gamma = other_operand(product, user) if is_mul(product) else None
        require(isinstance(gamma, Node), f"the norm has no weight: {kind(product)} follows")
        return gamma, product, [user, product]
    gamma = other_operand(user, scaled) if is_mul(user) else None
    require(isinstance(gamma, Node), f"the norm has no weight: {kind(user)} follows")
    out = part_user(user)
    require(is_cast(out, dtype), f"the norm is not cast back to {dtype}: {kind(out)} follows")
    if is_cast(gamma, f32):
        return gamma.args[0], out, [gamma, user, out]
    return gamma, out, [user, out]
