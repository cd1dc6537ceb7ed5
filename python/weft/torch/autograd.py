# SPDX-License-Identifier: Apache-2.0
"""Gradients of the operators, made of operators.

Calls that need no gradient never come here: src/pytorch/dispatch.cc sends those that do to an operator of the same schema in
the namespace weft_gradients. (torch.library.register_autograd knows no keyword-only tensors, such as bias.)

What every rank gets from a sum over ranks is one value: its gradient is the same on every rank, because each computes the
same loss, which counts once. So the gradients of the rank's own operands are local; a part of that value, as
matmul_reduce_scatter gives it, has its gradient gathered from all ranks first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_ops = torch.ops.weft
_library = torch.library.Library("weft_gradients", "FRAGMENT")
SELF = "weft.self"  # the group of this process alone: products without ranks


class Rule(NamedTuple):
    """How an operator is differentiated."""

    op: Any
    operands: list[str]  # of the schema, in order
    keywords: set[str]  # those that are passed by keyword
    saved: tuple[str, ...]  # names of operands and results that `gradients` looks at
    gradients: Callable[..., dict[str, Tensor]]  # (call, wanted names, *gradients of the results)


class Call(dict):
    """Operands, attributes and results of a call by name, as attributes."""

    __getattr__ = dict.__getitem__


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(rule: Rule, *values: Any) -> Any:
        operands = dict(zip(rule.operands, values))
        positional = [operands[name] for name in rule.operands if name not in rule.keywords]
        with torch._C._AutoDispatchBelowAutograd():
            return rule.op(*positional, **{name: operands[name] for name in rule.keywords})

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        rule, *values = inputs
        outputs = output if isinstance(output, tuple) else (output,)
        results = {result.name: value for result, value in zip(rule.op._schema.returns, outputs)}
        call = {**dict(zip(rule.operands, values)), **results}
        ctx.rule = rule
        ctx.attributes = {name: value for name, value in call.items() if not isinstance(value, Tensor)}
        ctx.tensors = [name for name in rule.saved if isinstance(call[name], Tensor)]
        ctx.save_for_backward(*(call[name] for name in ctx.tensors))
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        rule = ctx.rule
        call = Call(ctx.attributes, **dict(zip(ctx.tensors, ctx.saved_tensors)))
        wanted = {name for name, needed in zip(rule.operands, ctx.needs_input_grad[1:]) if needed}
        found = rule.gradients(call, wanted, *gradients) if any(g is not None for g in gradients) else {}
        return None, *(found.get(name) if name in wanted else None for name in rule.operands)


def _differentiable(name: str, *saved: str) -> Callable[[Callable[..., dict[str, Tensor]]], Callable[..., Any]]:
    def register(gradients: Callable[..., dict[str, Tensor]]) -> Callable[..., Any]:
        packet, _, overload = name.partition(".")
        op = getattr(getattr(_ops, packet), overload or "default")
        arguments = op._schema.arguments
        rule = Rule(op, [argument.name for argument in arguments],
                    {argument.name for argument in arguments if argument.kwarg_only}, saved, gradients)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = dict(zip(rule.operands, args), **kwargs)
            return _Function.apply(rule, *(given.get(argument.name, argument.default_value) for argument in arguments))

        _library.define(str(op._schema).removeprefix("weft::"))
        _library.impl(name, call, "CompositeImplicitAutograd")
        return gradients

    return register


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a·b of this rank alone; the operator takes no empty results."""
    return a @ b if 0 in a.shape or 0 in b.shape else _ops.matmul_allreduce(a, b, SELF)


def _column_sums(rows: Tensor, dtype: torch.dtype) -> Tensor:
    return rows.sum(0, dtype=torch.float32).to(dtype)


def _only_16_bits(op: str, call: Call, x: str, *weights: str) -> None:
    for name in (x, *weights):
        if call[name].dtype != call[x].dtype or call[name].dtype not in (torch.float16, torch.bfloat16):
            raise NotImplementedError(f"weft::{op}: {x} is {call[x].dtype} and {name} {call[name].dtype}, which has no "
                                      "gradient. Restore quantised operands to float16 or bfloat16 to train with them, or "
                                      "call it under torch.no_grad().")


def _product_gradients(call: Call, wanted: set[str], gradient: Tensor) -> dict[str, Tensor]:
    """Of x1·x2 + bias, with the gradient of all its rows."""
    rows = _rows(gradient).contiguous()
    found = {}
    if "x1" in wanted:
        found["x1"] = _product(rows, call.x2.t()).reshape(call.x1.shape)
    if "x2" in wanted:
        found["x2"] = _product(_rows(call.x1).t(), rows)
    if "bias" in wanted:
        found["bias"] = _column_sums(rows, gradient.dtype)
    return found


@_differentiable("matmul_allreduce", "x1", "x2")
def _(call, wanted, gradient):
    _only_16_bits("matmul_allreduce", call, "x1", "x2")
    return {"x3": gradient, **_product_gradients(call, wanted, gradient)}


@_differentiable("matmul_reduce_scatter", "x1", "x2")
def _(call, wanted, gradient):
    _only_16_bits("matmul_reduce_scatter", call, "x1", "x2")
    return _product_gradients(call, wanted, _ops.all_gather(gradient, call.group))


def _norm_gradients(gradient: Tensor, x: Tensor, rstd: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Of RMSNorm(x)·gamma: those of x in fp32, and of gamma."""
    kept, axes = tuple(range(x.dim() - gamma.dim())), tuple(range(-gamma.dim(), 0))
    normed, gradient = x.float() * rstd, gradient.float()
    scaled, products = gradient * gamma.float(), gradient * normed
    of_x = rstd * (scaled - normed * (scaled * normed).mean(axes, keepdim=True))
    return of_x, (products.sum(kept) if kept else products).to(gamma.dtype)


@_differentiable("add_rmsnorm", "gamma", "rstd", "x")
def _(call, wanted, of_y, of_rstd, of_x):
    x, rstd, found = call.x, call.rstd, {}
    total = torch.zeros_like(x, dtype=torch.float32) if of_x is None else of_x.float()
    if of_y is not None:
        through_norm, found["gamma"] = _norm_gradients(of_y, x, rstd, call.gamma)
        total = total + through_norm
    if of_rstd is not None:
        total = total - of_rstd * rstd**3 * x.float() / call.gamma.numel()
    found["x1"] = found["x2"] = total.to(x.dtype)
    return found


@_differentiable("matmul_allreduce_add_rmsnorm", "x1", "x2", "gamma", "y")
def _(call, wanted, of_y, of_norm):
    _only_16_bits("matmul_allreduce_add_rmsnorm", call, "x1", "x2")
    y, found = call.y, {}
    total = torch.zeros_like(y, dtype=torch.float32) if of_y is None else of_y.float()
    if of_norm is not None:
        rstd = torch.rsqrt(y.float().square().mean(-1, keepdim=True) + call.epsilon)
        through_norm, found["gamma"] = _norm_gradients(of_norm, y, rstd, call.gamma)
        total = total + through_norm
    found["residual"] = total.to(y.dtype)
    return {**found, **_product_gradients(call, wanted, found["residual"])}


@_differentiable("all_gather")
def _(call, wanted, gradient):
    return {"x": _ops.reduce_scatter(gradient, call.group)}


@_differentiable("reduce_scatter")
def _(call, wanted, gradient):
    return {"x": _ops.all_gather(gradient, call.group)}


def _fastgelu_backward(gradient: Tensor, v: Tensor) -> Tensor:
    s = torch.sigmoid(1.702 * v)
    return gradient * s * (1 + 1.702 * v * (1 - s))


# f(v), and its gradient from (that of f, v); by the names without a gate.
_activations: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (functional.relu, lambda gradient, v: gradient * (v > 0)),
    "silu": (functional.silu, torch.ops.aten.silu_backward),
    "gelu": (lambda v: functional.gelu(v, approximate="tanh"),
             lambda gradient, v: torch.ops.aten.gelu_backward(gradient, v, approximate="tanh")),
    "fastgelu": (lambda v: v * torch.sigmoid(1.702 * v), _fastgelu_backward),
}
_of_gate = {"reglu": "relu", "swiglu": "silu", "geglu": "gelu"}


def _activation_gradients(call: Call, h: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """a = f(h) or value · f(gate), and the gradient of h from that of a; all fp32."""
    name = call.activation.lower()
    f, backward = _activations[_of_gate.get(name, name)]
    if name not in _of_gate:
        return f(h), backward(gradient, h)
    left, right = h.chunk(2, -1)
    gate, value = (left, right) if call.gate_is_left else (right, left)
    of_gate, of_value = backward(gradient * value, gate), gradient * f(gate)
    return value * f(gate), torch.cat((of_gate, of_value) if call.gate_is_left else (of_value, of_gate), -1)


@_differentiable("ffn", "x", "weight1", "weight2", "expert_tokens", "bias1", "bias2")
def _(call, wanted, gradient):
    if call.weight1.dim() != 2:
        raise NotImplementedError("weft::ffn: with experts it has no gradient. Call it for the rows of each expert, without "
                                  "expert_tokens, or under torch.no_grad().")
    _only_16_bits("ffn", call, "x", "weight1", "weight2")
    dtype, rows, x = call.x.dtype, _rows(gradient).contiguous(), _rows(call.x)
    h = _product(x, call.weight1).float()  # again: forward never has all of it
    if call.bias1 is not None:
        h = h + call.bias1.float()
    a, of_h = _activation_gradients(call, h, _product(rows, call.weight2.t()).float())
    first = of_h.to(dtype)
    found = {}
    if "x" in wanted:
        found["x"] = _product(first, call.weight1.t()).reshape(call.x.shape)
    if "weight1" in wanted:
        found["weight1"] = _product(x.t(), first)
    if "weight2" in wanted:
        found["weight2"] = _product(a.to(dtype).t(), rows)
    if "bias1" in wanted:
        found["bias1"] = _column_sums(of_h, call.bias1.dtype)
    if "bias2" in wanted:
        found["bias2"] = _column_sums(rows, call.bias2.dtype)
    return found


def _refuse(name: str, instead: str) -> None:
    @_differentiable(name)
    def _(call, wanted, *gradients):
        raise NotImplementedError(f"weft::{name} has no gradient. To train, use {instead}; else call it under "
                                  "torch.no_grad().")


for _name in ("ffn", "matmul_allreduce", "matmul_allreduce_add_rmsnorm", "matmul_reduce_scatter"):
    _refuse(f"{_name}.packed", "the weight itself, not a PackedWeight")
_refuse("moe_gating_topk_softmax", "torch.softmax and torch.topk")
_refuse("moe_init_routing", "torch.argsort of the experts and x[rows]")
_refuse("moe_finalize_routing", "expanded_x[rows], weighted and summed")
for _name in ("moe_dispatch", "moe_combine", "moe_combine_add_rmsnorm"):
    _refuse(_name, "torch.distributed.nn.functional.all_to_all_single between such steps")
