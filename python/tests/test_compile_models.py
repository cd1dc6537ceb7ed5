# SPDX-License-Identifier: Apache-2.0
"""The pass for torch.compile on a whole model, and its numbers over two processes."""

import pytest

torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from compiling import NORM, SCATTER, SUM, all_reduce, bf16, compiled, llama_norm, reduce_scatter, start_fake_group  # noqa: E402
from ranks import run_ranks  # noqa: E402

import weft.torch  # noqa: E402

LAYERS = 2
COLUMNS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
ROWS = ("self_attn.o_proj", "mlp.down_proj")


def llama():
    """A decoder of two layers with random weights."""
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(1)
    model = LlamaModel(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=4,
                                   num_key_value_heads=2, vocab_size=100, max_position_embeddings=64, use_cache=False))
    return model.to(bf16).eval()


def with_dtensor(model):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {f"layers.*.{name}": ColwiseParallel() for name in COLUMNS}
    plan |= {f"layers.*.{name}": RowwiseParallel() for name in ROWS}
    return parallelize_module(model, init_device_mesh("cpu", (2,)), plan)


def with_transformers(model):
    """What its from_pretrained does when it is given a DistributedConfig."""
    from torch.distributed.device_mesh import init_device_mesh
    parallel = pytest.importorskip("transformers.distributed.tensor_parallel", reason="this version does it otherwise")

    layers = [f"layers.{i}." for i in range(LAYERS)]
    plan = {layer + name + part: style for layer in layers for part in ("", ".weight")
            for names, style in ((COLUMNS, "colwise"), (ROWS, "rowwise")) for name in names}
    return parallel.apply_tensor_parallelism(model, init_device_mesh("cpu", (2,), mesh_dim_names=("tp",)), plan)


def tokens():
    return torch.arange(24).view(2, 12) % 100


@pytest.mark.parametrize("sharded", [with_dtensor, with_transformers])
def test_llama_graph(sharded):
    start_fake_group()
    try:
        model = sharded(llama())
        before = []
        report, (graph,) = compiled(lambda ids: model(input_ids=ids).last_hidden_state, tokens(),
                                    edit=lambda graph: before.append(str(graph)))
        print(before[0], graph, report, sep="\n")  # pytest shows it when the test fails, or with -s
    finally:
        dist.destroy_process_group()
    assert [site.operator for site in report.sites] == [NORM] * 2 * LAYERS, str(report)
    assert before[0].count("_c10d_functional.all_reduce") == 2 * LAYERS and "c10d" not in str(graph)


# Two processes.


def close(got, want, bound):
    """Whether got, in few bits, is within bound of want, both in double precision."""
    excess = ((got.double() - want).abs() - bound).max().item()
    assert excess <= 0, f"off by {excess} more than {bound.max().item()} at most"


def check_numbers(rank: int, dtype: torch.dtype, options: dict) -> None:
    """Compiled layers against double precision; the bounds count the roundings of docs/ops/matmul_collectives.md."""
    torch.manual_seed(7)
    k, n, unit = 96, 64, {torch.float16: 2**-11, bf16: 2**-8}[dtype]
    xs, ws = torch.randn(2, 2, 4, k).to(dtype), (torch.randn(2, n, k) / k**0.5).to(dtype)
    residual, gamma, bias = torch.randn(2, 4, n).to(dtype), torch.randn(n).to(dtype), torch.randn(n).to(dtype)

    def layers(x, w, residual, gamma, bias):
        hidden = residual + all_reduce(F.linear(x, w, bias))
        return hidden, llama_norm(hidden, gamma), all_reduce(F.linear(x, w)), reduce_scatter(F.linear(x, w))

    report = weft.torch.Report()
    with torch.no_grad():
        results = torch.compile(layers, backend="weft", options={"report": report, **options})(
            xs[rank], ws[rank], residual, gamma, bias)
    assert [report.count(name) for name in (NORM, SUM, SCATTER)] == [1, 1, 1], str(report)

    partials = xs.double() @ ws.double().mT[:, None]
    sums = k * 2**-24 * (xs.double().abs() @ ws.double().abs().mT[:, None]).sum(0)  # of products, in fp32
    total = partials.sum(0)
    rounded = sums + unit * (partials.abs().sum(0) + total.abs()) * (1 + 4 * unit)  # each partial once, their sum once
    close(results[2], total, rounded)
    close(results[3], total[rank:rank + 1], rounded[rank:rank + 1])
    biased = total + 2 * bias.double()
    hidden = biased + residual.double()
    partials = (partials + bias.double()).abs().sum(0)
    close(results[0], hidden, sums + unit * (partials + biased.abs() + hidden.abs()) * (1 + 4 * unit))
    wide = results[0].double()
    norm = wide / (wide.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gamma.double()
    close(results[1], norm, norm.abs() * (2 * unit + 2**-20) * (1 + unit) + 2**-24)
    other = [torch.empty_like(results[1]) for _ in range(2)]
    dist.all_gather(other, results[1])
    assert torch.equal(*other)


def check_llama(rank: int) -> None:
    """In the mean not further from the model in double precision than the sharded model that is not compiled."""
    with torch.no_grad():
        exact = llama().double()(input_ids=tokens()).last_hidden_state
        model = with_dtensor(llama())
        plain = model(input_ids=tokens()).last_hidden_state
        report = weft.torch.Report()
        fused = torch.compile(model, backend="weft", options={"report": report, "eager": True})(input_ids=tokens())
    assert report.count(NORM) == 2 * LAYERS, str(report)
    assert (fused.last_hidden_state - exact).norm() < 1.2 * (plain - exact).norm() < 0.1 * exact.norm()


def over_gloo(rank: int) -> None:
    check_numbers(rank, bf16, {})
    check_llama(rank)


def over_weft(rank: int) -> None:
    check_numbers(rank, torch.float16, {"eager": True})


def gradients(model, parameters) -> list:
    model.zero_grad()
    model(input_ids=tokens()).last_hidden_state.float().square().mean().backward()
    return [parameter.grad.full_tensor() if hasattr(parameter.grad, "full_tensor") else parameter.grad.clone()
            for parameter in parameters]


def training(rank: int) -> None:
    """Gradients of the compiled model, whose backward graph has sums of its own, against those of the model as it is."""
    model = with_dtensor(llama())
    parameters = list(model.parameters())
    plain = gradients(model, parameters)
    report = weft.torch.Report()
    fused = gradients(torch.compile(model, backend="weft", options={"report": report, "eager": True}), parameters)
    assert report.graphs == 2 and not report.left and len(report.sites) > 2 * LAYERS, str(report)
    for got, want in zip(fused, plain):  # each passed through some ten roundings of 2**-8 more or less
        assert (got.float() - want.float()).norm() < 10 * 2**-8 * want.float().norm()


@pytest.mark.slow
def test_training():
    run_ranks(2, training, backend="weft", timeout=240)


def test_over_gloo():
    run_ranks(2, over_gloo, backend="gloo", timeout=240)


def test_over_weft():
    run_ranks(2, over_weft, backend="weft", timeout=120)
