# SPDX-License-Identifier: Apache-2.0
"""What PyTorch builds on a process group: DDP, FSDP2, DTensor, functional collectives, torch.compile."""

import torch
import torch.distributed._functional_collectives as functional
from ranks import run_ranks
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(x)))


def model():
    torch.manual_seed(3)
    return nn.Sequential(Block(), Block())


def batch(rank):
    return torch.randn(4, 16, generator=torch.Generator().manual_seed(rank))


def gradients_of_all(ranks):
    """Of the mean over the ranks' batches, on one rank alone."""
    alone = model()
    sum(alone(batch(rank)).square().mean() for rank in range(ranks)).div(ranks).backward()
    return [parameter.grad for parameter in alone.parameters()]


def check_ddp(rank):
    for options in ({}, {"bucket_cap_mb": 0.002, "gradient_as_bucket_view": True}):
        parallel = DistributedDataParallel(model(), **options)
        parallel(batch(rank)).square().mean().backward()
        for parameter, want in zip(parallel.parameters(), gradients_of_all(dist.get_world_size()), strict=True):
            torch.testing.assert_close(parameter.grad, want)


def check_fsdp2(rank):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    sharded = model()
    for block in sharded:
        fully_shard(block, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    sharded(batch(rank)).square().mean().backward()
    for parameter, want in zip(sharded.parameters(), gradients_of_all(dist.get_world_size()), strict=True):
        torch.testing.assert_close(parameter.grad.full_tensor(), want)
    torch.optim.SGD(sharded.parameters(), lr=0.1).step()


def check_dtensor(rank):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole = torch.arange(60.0).view(10, 6)
    rows = distribute_tensor(whole, mesh, [Shard(0)])
    torch.testing.assert_close(rows.redistribute(placements=[Shard(1)]).full_tensor(), whole)
    torch.testing.assert_close(rows.redistribute(placements=[Replicate()]).to_local(), whole)
    partial = DTensor.from_local(whole * (rank + 1), mesh, [Partial()])
    total = sum(range(1, dist.get_world_size() + 1))
    torch.testing.assert_close(partial.redistribute(placements=[Replicate()]).to_local(), whole * total)
    torch.testing.assert_close(partial.redistribute(placements=[Shard(0)]).full_tensor(), whole * total)


def check_tensor_parallel(rank):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole, x = model(), batch(9)
    split = parallelize_module(model(), mesh, {f"{i}.{name}": style() for i in range(2)
                                               for name, style in (("up", ColwiseParallel), ("down", RowwiseParallel))})
    torch.testing.assert_close(split(x), whole(x))


def check_functional(rank):
    ranks = dist.get_world_size()
    group = dist.group.WORLD
    x = torch.full((ranks * 2,), float(rank + 1))
    total = sum(range(1, ranks + 1))
    assert functional.all_reduce(x, "sum", group).eq(total).all()
    assert functional.reduce_scatter_tensor(x, "sum", 0, group).eq(total).all()
    gathered = functional.all_gather_tensor(x[:1], 0, group)
    assert gathered.tolist() == list(range(1, ranks + 1))
    assert functional.all_to_all_single(x, [2] * ranks, [2] * ranks, group).tolist() == [r + 1 for r in range(ranks)
                                                                                        for _ in range(2)]
    assert functional.broadcast(x, 0, group).eq(1).all()
    assert all(t.eq(total).all() for t in functional.all_reduce_coalesced([x, x], "sum", group))


def check_compile(rank):
    ranks = dist.get_world_size()

    def layer(x, weight):
        return functional.all_reduce(x @ weight, "sum", dist.group.WORLD).relu()

    def in_place(x):
        dist.all_reduce(x)
        return x + 1

    x, weight = batch(0), torch.randn(16, 8, generator=torch.Generator().manual_seed(5))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight), (ranks * (x @ weight)).relu())
    assert torch.compile(in_place, fullgraph=True, backend="aot_eager")(torch.ones(3)).eq(ranks + 1).all()


def make_all_checks(rank):
    for check in [check_ddp, check_fsdp2, check_dtensor, check_tensor_parallel, check_functional, check_compile]:
        check(rank)
        dist.barrier()


def test_what_is_built_on_it():
    run_ranks(2, make_all_checks, timeout=110)
