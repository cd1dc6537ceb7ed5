# SPDX-License-Identifier: Apache-2.0
"""torch.compile and torch.export keep the operators whole: opcheck, dynamic shapes, gradients, errors, processes."""

import pytest

torch = pytest.importorskip("torch")

import torch._inductor.config  # noqa: E402,F811
from ranks import run_ranks  # noqa: E402

import weft  # noqa: E402
import weft.torch  # noqa: E402

ops = torch.ops.weft
SELF = "weft.self"
T = torch.bfloat16
x1, x2, residual, gamma = torch.randn(4, 6).to(T), torch.randn(6, 8).to(T), torch.randn(4, 8).to(T), torch.randn(8).to(T)
packed = torch.randint(0, 256, (3, 8), dtype=torch.uint8).t().contiguous().t()  # int4 along k
ids, weights = torch.tensor([[0, 1], [1, 2], [2, 0], [1, 0]], dtype=torch.int32), torch.rand(4, 2)
sent = ops.moe_dispatch(x1, ids, SELF, moe_expert_num=3)

kept_packed = weft.torch.PackedWeight(x2), weft.torch.PackedWeight(x2.t())
handle, handle2 = (weight.handle for weight in kept_packed)


def like(*tensors):
    return [torch.empty_like(tensor) for tensor in tensors]


def wanting(*tensors):
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


CALLS = [
    (ops.matmul_allreduce.default, (x1, x2, SELF), dict(bias=gamma, x3=residual)),
    (ops.matmul_allreduce.default, wanting(x1, x2) + (SELF,), dict(bias=wanting(gamma)[0])),
    (ops.matmul_allreduce.default, (x1.int().char(), x2.int().char(), SELF), dict(dequant_scale=gamma)),
    (ops.matmul_allreduce.default, (x1, packed, SELF), dict(antiquant_scale=gamma)),
    (ops.matmul_allreduce.out, (x1, x2, SELF), dict(out=torch.empty(4, 8).to(T))),
    (ops.matmul_allreduce_add_rmsnorm.default, (x1, x2, residual, gamma, SELF), {}),
    (ops.matmul_allreduce_add_rmsnorm.default, wanting(x1, x2, residual, gamma) + (SELF,), {}),
    (ops.matmul_allreduce_add_rmsnorm_.default, (x1, x2, residual, gamma, SELF), {}),
    (ops.matmul_allreduce_add_rmsnorm.out, (x1, x2, residual, gamma, SELF),
     dict(zip(("y", "norm_out"), like(residual, residual)))),
    (ops.matmul_reduce_scatter.default, wanting(x1, x2) + (SELF,), {}),
    (ops.matmul_reduce_scatter.default, (x1.int().char(), x2.int().char(), SELF),
     dict(x1_scale=torch.rand(4), x2_scale=torch.rand(8), dtype=T)),
    (ops.matmul_reduce_scatter.out, (x1, x2, SELF), dict(out=torch.empty(4, 8).to(T))),
    (ops.all_gather.default, wanting(x1) + (SELF,), {}),
    (ops.reduce_scatter.default, wanting(x1) + (SELF,), {}),
    (ops.add_rmsnorm.default, wanting(residual, residual, gamma), {}),
    (ops.add_rmsnorm.out, (residual, residual, gamma),
     dict(zip(("y", "rstd", "x"), like(residual, torch.empty(4, 1), residual)))),
    (ops.ffn.default, wanting(x1, x2, x2.t()), dict(activation="silu")),
    (ops.ffn.default, (x1, torch.stack([x2, x2]), torch.stack([x2.t(), x2.t()])), dict(expert_tokens=torch.tensor([1, 3]))),
    (ops.ffn.out, (x1, x2, x2.t()), dict(out=torch.empty_like(x1))),
    (ops.matmul_allreduce.packed, (x1, handle, SELF), dict(bias=gamma)),
    (ops.matmul_allreduce_add_rmsnorm.packed, (x1, handle, residual, gamma, SELF), {}),
    (ops.matmul_reduce_scatter.packed, (x1, handle, SELF), {}),
    (ops.ffn.packed, (x1, handle, handle2), dict(activation="silu")),
    (ops.moe_gating_topk_softmax.default, (torch.randn(4, 5), 2), {}),
    (ops.moe_init_routing.default, (x1, torch.arange(8, dtype=torch.int32).view(2, 4).t(), ids, 4), {}),
    (ops.moe_finalize_routing.default, (torch.randn(8, 6), torch.arange(8, dtype=torch.int32)), dict(scales=weights)),
    (ops.moe_dispatch.default, (x1, ids, SELF), dict(moe_expert_num=3)),
    (ops.moe_combine.default, (sent[0], ids, sent[2], sent[4], weights, SELF), dict(moe_expert_num=3)),
    (ops.moe_combine_add_rmsnorm.default, (sent[0], ids, sent[2], sent[4], weights, x1, x1[0], SELF),
     dict(moe_expert_num=3)),
]


@pytest.mark.parametrize("op, args, kwargs", CALLS, ids=[f"{i}-{op}" for i, (op, _, _) in enumerate(CALLS)])
def test_opcheck(op, args, kwargs):
    torch.library.opcheck(op, args, kwargs)


def test_every_operator_is_checked():
    names = {str(call[0]) for call in CALLS}
    registered = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("weft::")}
    assert registered == {name.replace(".", "::", 1).removesuffix(".default") for name in names}


def layer(x1, x2, residual, gamma):
    y, norm = ops.matmul_allreduce_add_rmsnorm(x1, x2, residual, gamma, SELF)
    both, _, _ = ops.add_rmsnorm(ops.ffn(norm, x2.t(), x2, activation="silu"), y, gamma)
    return ops.matmul_reduce_scatter(both, x2.t(), SELF)


def kept(graph):
    return sum(node.op == "call_function" and str(node.target).startswith("weft.") for node in graph.graph.nodes)


def test_compile_keeps_them_with_any_rows():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for rows in (4, 7, 9):
        x, r = torch.randn(rows, 6).to(T), torch.randn(rows, 8).to(T)
        assert torch.equal(compiled(x, x2, r, gamma), layer(x, x2, r, gamma))
    assert len(graphs) == 1 and kept(graphs[0]) == 4


@torch._inductor.config.patch(force_disable_caches=True)  # an earlier build may have had other forms of an operator
def test_compile_with_inductor():
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x1, x2, residual, gamma), layer(x1, x2, residual, gamma))


def test_compiled_gradients():
    results = []
    for function in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        operands = wanting(x1, x2, residual, gamma)
        function(*operands).sum().backward()
        results.append([operand.grad for operand in operands])
    for eager, compiled in zip(*results):
        assert torch.equal(eager, compiled)


def test_compile_with_packed_weights():
    def packed_layer(x1, residual, first, second):
        y, norm = weft.torch.matmul_allreduce_add_rmsnorm(x1, first, residual, gamma, group=SELF)
        return weft.torch.ffn(norm, second, first, activation="silu") + y

    compiled = torch.compile(packed_layer, fullgraph=True, backend="aot_eager")
    want = packed_layer(x1, residual, x2, x2.t())
    assert torch.equal(compiled(x1, residual, *kept_packed), want)
    other = weft.torch.PackedWeight(-x2), weft.torch.PackedWeight(x2.t())  # seen, not mistaken for the first ones
    assert torch.equal(compiled(x1, residual, *other), packed_layer(x1, residual, -x2, x2.t()))


def test_export():
    class Layer(torch.nn.Module):
        def forward(self, x1, residual):
            return layer(x1, x2, residual, gamma)

    rows = torch.export.Dim("rows", min=2, max=64)
    exported = torch.export.export(Layer(), (x1, residual), dynamic_shapes=({0: rows}, {0: rows}))
    assert kept(exported.graph_module) == 4
    x, r = torch.randn(9, 6).to(T), torch.randn(9, 8).to(T)
    assert torch.equal(exported.module()(x, r), layer(x, x2, r, gamma))


def test_errors_of_compiled_calls():
    compiled = torch.compile(lambda a, b, key: ops.matmul_allreduce(a, b, key) + 1, fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match=r"^matmul_allreduce \(rank 0\): "):
        compiled(x1, x2[:5], SELF)
    groups = weft.Group.local(2, threads=1)
    groups[1].close()
    with pytest.raises(weft.PeerLost, match="rank 1"):
        compiled(x1, x2, groups[0].key)
    with pytest.raises(ValueError, match="none called 'nowhere'"):
        compiled(x1, x2, "nowhere")


def compiled_rank(rank):
    group = weft.torch.group_key(torch.distributed.group.WORLD)
    generator = torch.Generator().manual_seed(rank)
    x, w = torch.randn(4, 6, generator=generator).to(T), torch.randn(6, 8, generator=generator).to(T)

    def step(x, w):
        part = weft.torch.matmul_reduce_scatter(x, w, group=group)
        return weft.torch.all_gather(part, group=group), weft.torch.matmul_allreduce(x, w, group=group)

    with torch.no_grad():
        gathered, summed = torch.compile(step, fullgraph=True, backend="aot_eager")(x, w)
    return (x @ w).tolist(), gathered.tolist(), summed.tolist()


def test_two_processes():
    results = run_ranks(2, compiled_rank, timeout=120)
    products = torch.tensor([product for product, _, _ in results])
    for _, gathered, summed in results:
        assert gathered == summed == results[0][2]
        error = (torch.tensor(summed) - products.sum(0)).abs()
        assert (error <= 2.0**-7 * (products.abs().sum(0) + products.sum(0).abs())).all()
