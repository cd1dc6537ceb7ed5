# SPDX-License-Identifier: Apache-2.0
"""What the pass for torch.compile leaves alone, wholly or in part, and what it says of it."""

import logging
import pickle
import re

import pytest

torch = pytest.importorskip("torch")

import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from compiling import (  # noqa: E402
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

import weft.torch  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def fake_group():
    start_fake_group()
    yield
    dist.destroy_process_group()
    torch._dynamo.reset()


def twice(x, weight):
    product = F.linear(x, weight)
    return all_reduce(product), product


LEFT = {
    "average": (lambda x, w, r, g: all_reduce(F.linear(x, w), "avg"), "the reduction is 'avg', not 'sum'"),
    "product used again": (lambda x, w, r, g: twice(x, w), r"the product \(\w+\) is also used by output"),
    "no product": (lambda x, w, r, g: all_reduce(F.linear(x, w).relu()),
                   r"what it sums is relu\w* \(aten.relu.default\), not a product"),
    "scaled": (lambda x, w, r, g: all_reduce(F.linear(x, w) * 0.5), r"what it sums is mul\w* \(aten.mul.Tensor\)"),
    "float32 sum": (lambda x, w, r, g: all_reduce(F.linear(x, w).float()), "convert_element_type"),
    "float32 product": (lambda x, w, r, g: all_reduce(F.linear(x.float(), w.float())), "the product is float32"),
    "several matrices": (lambda x, w, r, g: all_reduce(torch.bmm(x, torch.stack([w, w]).mT)), "bmm multiplies by several"),
    "scaled bias": (lambda x, w, r, g: all_reduce(torch.addmm(g, x[0], w.t(), alpha=2)), "scales what it adds"),
    "transposed sum": (lambda x, w, r, g: all_reduce(F.linear(x, w).mT.contiguous()), "what it sums is clone"),
    "other columns": (lambda x, w, r, g: all_reduce(F.linear(x, w).reshape(16, 16)), "does not keep the product's columns"),
    "no rows": (lambda x, w, r, g: all_reduce(F.linear(x[:, :0], w)), "an extent of the product may be 0"),
    "scatter of columns": (lambda x, w, r, g: reduce_scatter(F.linear(x, w), 2), "what it sums is cat"),
    "scatter of sequences": (lambda x, w, r, g: reduce_scatter(F.linear(x, w), 1), "what it sums is cat"),
    "scatter of bmm": (lambda x, w, r, g: reduce_scatter(torch.bmm(x, w.t().expand(2, 16, 32))),
                       r"rows have 2 axes \(bmm\)"),
    "scatter of transposed": (lambda x, w, r, g: reduce_scatter(torch.mm(r[0].t(), w.t()[:4])), "is transposed"),
}


def normed(norm, add=lambda summed, residual: residual + summed):
    return lambda x, w, r, g: norm(add(all_reduce(F.linear(x, w)), r), g)


def written(x, weight, mean=lambda wide: wide.pow(2).mean(-1, keepdim=True), root=lambda mean: torch.rsqrt(mean + 1e-6),
            back=lambda scaled: scaled.to(bf16)):
    wide = x.float()
    return weight * back(wide * root(mean(wide)))


def with_parts(x, weight):
    wide = x.float()
    mean = wide.pow(2).mean(-1, keepdim=True)
    return weight * (wide * torch.rsqrt(mean + 1e-6)).to(x.dtype), mean


def sum_used_again(x, w, r, g):
    summed = all_reduce(F.linear(x, w))
    return llama_norm(summed + r, g), summed


def weight_of_sum(x, w, r, g):
    total = all_reduce(F.linear(x, w)) + r
    return llama_norm(total, total[0, 0])


PARTLY = {
    "sum used again": (sum_used_again, r"the sum over the ranks \(\w+\) is also used by output"),
    "bias after sum": (lambda x, w, r, g: llama_norm(all_reduce(F.linear(x, w)) + g + r, g), "a bias after it, no residual"),
    "no residual": (lambda x, w, r, g: llama_norm(all_reduce(F.linear(x, w)), g), "no residual is added to the sum"),
    "scaled residual": (normed(llama_norm, lambda s, r: torch.add(s, r, alpha=2)), "adds no residual"),
    "float32 residual": (normed(lambda x, g: llama_norm(x.to(bf16), g), lambda s, r: s + r.float()), "another dtype"),
    "strided residual": (normed(llama_norm, lambda s, r: s + r.mT.contiguous().mT), "no adjacent columns"),
    "columns of norm": (lambda x, w, r, g: llama_norm(all_reduce(F.linear(x, w)).view(16, 16) + r.view(16, 16), g[:16]),
                        "does not keep the columns"),
    "four axes": (lambda x, w, r, g: llama_norm(all_reduce(F.linear(x, w))[None] + r[None], g), "has 4 axes, not 2 or 3"),
    "no norm": (normed(lambda x, g: x * g), r"no RMS norm of sum \+ residual follows: add\w* is used by mul"),
    "layer norm": (normed(lambda x, g: F.layer_norm(x, (32,), g)), r"no RMS norm of sum \+ residual follows"),
    "bfloat16 norm": (normed(lambda x, g: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * g), "not in float32"),
    "epsilon outside": (normed(lambda x, g: written(x, g, root=lambda mean: 1 / (mean.sqrt() + 1e-6))),
                        "epsilon is not added"),
    "no epsilon": (normed(lambda x, g: written(x, g, root=torch.rsqrt)), "epsilon is not added to the mean"),
    "large epsilon": (normed(lambda x, g: llama_norm(x, g, 1.5)), "epsilon is 1.5, not between 0 and 1"),
    "computed epsilon": (normed(lambda x, g: llama_norm(x, g, g[0].float())), "is not a constant"),
    "root": (normed(lambda x, g: written(x, g, root=lambda mean: torch.sqrt(mean + 1e-6))), "is not the reciprocal"),
    "mean of rows": (normed(lambda x, g: written(x, g, mean=lambda w: w.pow(2).mean(1, keepdim=True))), "not the mean over"),
    "mean of all": (normed(lambda x, g: written(x, g, mean=lambda w: w.pow(2).mean((1, 2), keepdim=True))),
                    "not the mean over"),
    "fourth powers": (normed(lambda x, g: written(x, g, mean=lambda w: w.pow(4).mean(-1, keepdim=True))), "no RMS norm of"),
    "float32 weight": (normed(lambda x, g: llama_norm(x, g.float())), "is torch.float32, not torch.bfloat16"),
    "one + weight": (normed(lambda x, g: written(x, 1 + g.float(), back=lambda s: s).to(bf16)), "is torch.float32, not"),
    "no weight": (normed(lambda x, g: F.rms_norm(x, (32,), None, 1e-6)), "the norm has no weight"),
    "weight for each": (normed(lambda x, g: llama_norm(x, x.new_ones(4, 32))), "is not one number for each column"),
    "float32 result": (normed(lambda x, g: written(x, g, back=lambda s: s)), "is not cast back to torch.bfloat16"),
    "part used again": (normed(with_parts), r"a part of the norm \(mean\w*\) is also used by output"),
    "weight from the sum": (weight_of_sum, r"uses sum \+ residual before"),
}


@pytest.fixture(scope="module")
def sites(fake_group):
    return sites_of({case: (layer, operands()) for case, (layer, _) in (LEFT | PARTLY).items()})


@pytest.mark.parametrize("case", LEFT)
def test_left_alone(sites, case):
    assert sites[case].operator == "" and re.search(LEFT[case][1], sites[case].reason), sites[case]


@pytest.mark.parametrize("case", PARTLY)
def test_norm_left_alone(sites, case):
    assert sites[case].operator == SUM and re.search(PARTLY[case][1], sites[case].reason), sites[case]


def test_change_between():
    def edit(graph):
        product = next(node for node in graph.nodes if node.target is torch.ops.aten.mm.default)
        with graph.inserting_before(product.next):
            graph.call_function(torch.ops.aten.mul_.Tensor, (product.args[0], 2))

    site = only_site(lambda x, w: all_reduce(F.linear(x, w)), *operands()[:2], edit=edit)
    assert site.operator == "" and site.reason == (
        "mul__tensor (aten.mul_.Tensor), between the product and the sum's use, changes a tensor")


def test_groups():
    def layer(x, w):
        return all_reduce(F.linear(x, w))

    alone = dist.new_group([0])
    reason = only_site(layer, *operands()[:2], groups={"0": None}).reason
    assert reason == "group '0' is to be left alone"
    functional = torch.distributed._functional_collectives
    reason = only_site(lambda x, w: functional.all_reduce(F.linear(x, w), "sum", alone), *operands()[:2]).reason
    assert reason == f"group '{alone.group_name}' has one rank"


def test_log_and_report(caplog):
    def layer(x, w, r, g):
        return all_reduce(F.linear(x, w)), all_reduce(r)

    caplog.set_level(logging.INFO, "weft.torch.compile")
    report, _ = compiled(layer, *operands())
    assert (len(report.replaced), len(report.left), report.graphs) == (1, 1, 1)
    assert str(report).splitlines()[0] == "weft replaced 1 of 2 sums over ranks in 1 graphs"

    def messages():
        return [record.message for record in caplog.records if record.name == "weft.torch.compile"]

    (line,) = messages()
    assert line.startswith("graph 0: all_reduce: matmul_allreduce, (8, 16)·(16, 32) bfloat16, group '0', for mm, ")
    caplog.clear()
    compiled(layer, *operands(), explain=True)
    assert len(messages()) == 2 and any("left as it is: what it sums is arg" in line for line in messages())


def test_order_of_independent_collectives():
    """In the graph that inductor gets, a collective that could run earlier waits for the one before it."""
    functional = torch.distributed._functional_collectives

    def layer(x, w, r, g):
        x1 = all_reduce(F.linear(x, w))
        hidden = all_reduce(F.linear(x1, r[0])) + r[..., :4]
        return hidden, functional.all_reduce(r, "sum", dist.group.WORLD)

    _, (graph,) = compiled(layer, *operands(), ordered=True)
    first, *later = (node for node in graph.nodes if "matmul" in node.name or "all_reduce" in node.name)
    waits = [str(node.target) == "control_deps" for node in later if node.op == "call_function"]
    assert waits == [False, True], graph


def test_caches_of_graphs():
    """A graph may come from one where its groups are there without compiling, and only for the same groups."""
    alike, again, other = (weft.torch.compile_pass(groups={"0": key}).uuid() for key in ("a", "a", None))
    assert alike == again != other and pickle.loads(pickle.dumps(alike)) == alike
    assert weft.torch.compile_pass().uuid() is None


def test_backend_options():
    with pytest.raises(Exception, match="eager=True takes no mode and no options of inductor, but has max_autotune"):
        torch.compile(lambda x: x + 1, backend="weft", options={"eager": True, "max_autotune": True})(torch.ones(2))
    with pytest.raises(Exception, match="Unexpected optimization option explian"):
        torch.compile(lambda x: x + 1, backend="weft", options={"explian": True})(torch.ones(2))
