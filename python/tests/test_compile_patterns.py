# SPDX-License-Identifier: Apache-2.0
"""What the pass for torch.compile replaces."""

import pytest

torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from compiling import (  # noqa: E402
    NORM,
    SCATTER,
    SUM,
    all_reduce,
    bf16,
    compiled,
    llama_norm,
    only_site,
    operands,
    reduce_scatter,
    sites_of,
    start_fake_group,
)


@pytest.fixture(scope="module", autouse=True)
def fake_group():
    start_fake_group()
    yield
    dist.destroy_process_group()
    torch._dynamo.reset()


# Norms: all compute in float32 and give the dtype of x.


def cast_first(x, weight):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * weight


def cast_last(x, weight):
    wide = x.float()
    return (weight.float() * (wide * torch.rsqrt((wide * wide).mean(2, keepdim=True) + 1e-5))).to(x.dtype)


def reciprocal_root(x, weight):
    wide = x.float()
    return (wide * (1 / torch.sqrt(1e-5 + wide.square().mean(dim=-1, keepdim=True)))).to(x.dtype) * weight


def divided(x, weight):
    wide = x.float()
    return weight * (wide / torch.sqrt(torch.mean(wide**2, -1, True) + 1e-5)).to(x.dtype)


def power(x, weight):
    wide = x.float()
    return weight * (wide * torch.pow(wide.pow(2).mean(-1, keepdim=True) + 1e-5, -0.5)).to(x.dtype)


def functional_norm(x, weight):
    return F.rms_norm(x, weight.shape, weight, 1e-5)


NORMS = {norm.__name__: norm for norm in (cast_first, cast_last, reciprocal_root, divided, power, functional_norm)}


def llama(x, weight, residual, gamma):
    hidden = residual + all_reduce(F.linear(x, weight))
    return hidden, llama_norm(hidden, gamma)


def normed(norm):
    return lambda x, weight, residual, gamma: norm(all_reduce(F.linear(x, weight)) + residual, gamma)


def views_between(x, weight, residual, gamma):
    hidden = all_reduce(F.linear(x.view(-1, 16), weight)).view(residual.shape) + residual
    return hidden, llama_norm(hidden, gamma)


PRODUCTS = {
    "linear": lambda x, w, b: F.linear(x, w),
    "linear with bias": F.linear,
    "matmul": lambda x, w, b: x @ w.t(),
    "matmul + bias": lambda x, w, b: x @ w.t() + b,
    "bias + matmul": lambda x, w, b: b + torch.matmul(x, w.T),
    "addmm": lambda x, w, b: torch.addmm(b, x.view(-1, 16), w.t()).view(2, 4, 32),
    "bmm": lambda x, w, b: torch.bmm(x, w.t().expand(2, 16, 32)),
    "einsum": lambda x, w, b: torch.einsum("bsk,nk->bsn", x, w),
    "weight (k, n)": lambda x, w, b: (x.view(-1, 16) @ w.t().contiguous()).unflatten(0, (2, 4)),
}


def summed(product):
    return lambda x, w, r, g, b: all_reduce(product(x, w, b)).relu()


def summed_and_normed(product):
    return lambda x, w, r, g, b: llama_norm(r + all_reduce(product(x, w, b)), g)


def in_place(x, weight, residual, gamma):
    product = F.linear(x, weight)
    dist.all_reduce(product)
    return product


def scattered_in_place(x, weight, residual, gamma):
    product = F.linear(x, weight, gamma)
    part = product.new_empty(product.shape[0] // 2, *product.shape[1:])
    dist.reduce_scatter_tensor(part, product)
    return part


def scattered(x, weight, residual, gamma):
    return reduce_scatter(F.linear(x, weight, gamma))


def one_sequence_scattered(x, weight, residual, gamma):
    """As sequence parallelism does it: the second axis is cut, the first has one sequence."""
    return reduce_scatter(F.linear(x, weight), 1)


CASES = {f"{name} norm": (NORM, normed(norm), operands()) for name, norm in NORMS.items()}
CASES |= {f"llama norm of {rows} {dtype}": (NORM, llama, operands(*rows, dtype=dtype))
          for rows in ((5,), (2, 4), (1, 1)) for dtype in (torch.float16, bf16)}
CASES |= {f"{name}, sum": (SUM, summed(product), (*operands(), torch.randn(32, dtype=bf16)))
          for name, product in PRODUCTS.items()}
CASES |= {f"{name}, norm": (NORM, summed_and_normed(product), (*operands(), torch.randn(32, dtype=bf16)))
          for name, product in PRODUCTS.items()}
CASES |= {
    "views between": (NORM, views_between, operands()),
    "in place": (SUM, in_place, operands()),
    "scattered": (SCATTER, scattered, operands()),
    "rows scattered": (SCATTER, scattered, operands(6)),
    "scattered in place": (SCATTER, scattered_in_place, operands()),
    "one sequence scattered": (SCATTER, one_sequence_scattered, operands(1, 6)),
}


@pytest.fixture(scope="module")
def sites(fake_group):
    return sites_of({case: (layer, values) for case, (_, layer, values) in CASES.items()})


@pytest.mark.parametrize("case", CASES)
def test_replaced(sites, case):
    operator, _, values = CASES[case]
    assert sites[case].operator == operator, sites[case]
    m = values[0].shape[:-1].numel()
    assert sites[case].shape == (str(m), "16", "32") and sites[case].dtype == str(values[0].dtype).removeprefix("torch.")
    assert (sites[case].reason == "") == (operator != SUM)


def test_nothing_is_left_of_norms():
    def layers(x, gamma, *rest):
        return [normed(norm)(x, weight, residual, gamma) for norm, weight, residual in zip(NORMS.values(), rest, rest[6:])]

    x, _, _, gamma = operands()
    report, (graph,) = compiled(layers, x, gamma, *(operands()[1] for _ in NORMS), *(operands()[2] for _ in NORMS))
    assert report.count(NORM) == len(NORMS), str(report)
    fused = [node for node in graph.nodes if "weft" in str(node.target)]
    assert [node.kwargs["epsilon"] for node in fused] == pytest.approx([1e-5] * len(NORMS))
    left = {str(node.target) for node in graph.nodes if node.op == "call_function"} - {str(fused[0].target)}
    assert left <= {"aten.permute.default", "aten.view.default", "<built-in function getitem>"}


def test_operands_of_fused_operator():
    def layer(x, weight, residual, gamma, bias):
        hidden = residual + all_reduce(F.linear(x, weight, bias))
        return hidden, llama_norm(hidden, gamma, 0.25)

    report, (graph,) = compiled(layer, *operands(), torch.randn(32, dtype=bf16))
    (fused,) = (node for node in graph.nodes if "weft" in str(node.target))
    x1, x2, residual, gamma, group = fused.args
    assert [value.meta["val"].shape for value in (x1, x2, residual, gamma)] == [(8, 16), (16, 32), (2, 4, 32), (32,)]
    assert fused.kwargs["bias"].meta["val"].shape == (32,) and group == "group" and fused.kwargs["epsilon"] == 0.25
    assert {node.op for node in (residual, gamma, fused.kwargs["bias"])} == {"placeholder"}
    hidden, normed = next(node for node in graph.nodes if node.op == "output").args[0]
    assert [node.args for node in (hidden, normed)] == [(fused, 0), (fused, 1)]
    assert all(node.meta["val"].shape == (2, 4, 32) and node.meta["val"].dtype == bf16 for node in (hidden, normed))


def test_sizes_of_several_calls():
    values = operands()
    for tensor in (values[0], values[2]):
        torch._dynamo.mark_dynamic(tensor, 1)
    site = only_site(llama, *values)
    assert site.operator == NORM and not site.shape[0].isdigit(), site


def test_layers_share_a_graph():
    def layers(x, weight, residual, gamma, up):
        for _ in range(3):
            residual = residual + all_reduce(F.linear(x, weight))
            x = F.linear(llama_norm(residual, gamma), up)
        return x, residual

    report, (graph,) = compiled(layers, *operands(), torch.randn(16, 32, dtype=bf16))
    assert report.count(NORM) == 3 == len(report.sites), str(report)


def test_training_keeps_what_backward_needs():
    values = [operand.requires_grad_() for operand in operands()]
    site = only_site(llama, *values, grad=True)
    assert site.operator == SUM and "a part of the norm" in site.reason
