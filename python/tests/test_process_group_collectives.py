# SPDX-License-Identifier: Apache-2.0
"""Every collective of the process group x dtypes x operations, against what it should be. One launch for each number of
ranks makes all calls."""

import functools

import pytest
import torch
from ranks import run_ranks
from torch import distributed as dist

REDUCED = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32,
           torch.int64]
MOVED = [*REDUCED, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn]
SHAPES = [(5, 3), (0, 3), (), (4099,)]
OPS = {"SUM": lambda x: x.sum(0), "PRODUCT": lambda x: x.prod(0), "MIN": lambda x: x.amin(0), "MAX": lambda x: x.amax(0)}
BITWISE = {"BAND": torch.bitwise_and, "BOR": torch.bitwise_or, "BXOR": torch.bitwise_xor}


def data(rank, shape, dtype, salt=0):
    """Small numbers, so that all types hold the results exactly."""
    generator = torch.Generator().manual_seed(1000 * salt + rank)
    numbers = torch.randint(0, 4, shape, generator=generator)
    if dtype.is_complex:
        return torch.complex(numbers.double(), numbers.double() + rank).to(dtype)
    return numbers.to(dtype)


def of_all(shape, dtype, salt=0):
    return [data(rank, shape, dtype, salt) for rank in range(dist.get_world_size())]


def reduced(op, parts):
    """In a type that holds all results exactly, then in that of the parts."""
    if op in BITWISE:
        return functools.reduce(BITWISE[op], parts)
    wide = torch.complex128 if parts[0].is_complex() else torch.int64
    stacked = torch.stack([part.to(wide) for part in parts])
    return OPS[op](stacked).to(parts[0].dtype)


def same(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, want.dtype, got.shape, want.shape)
    if got.dtype == torch.float8_e4m3fn:
        got, want = got.view(torch.uint8), want.view(torch.uint8)
    assert torch.equal(got, want), (got, want)


def cases(types=REDUCED, operations=OPS):
    for dtype in types:
        for op in operations:
            for shape in SHAPES:
                yield dtype, op, shape


def check_all_reduce(rank):
    integers = [dtype for dtype in REDUCED if not dtype.is_floating_point]
    complexes = [torch.complex64, torch.complex128]
    for dtype, op, shape in [*cases(), *cases(integers, BITWISE), *cases(complexes, ["SUM"]),
                             *cases([torch.bool], ["SUM", "MAX"])]:
        tensor = data(rank, shape, dtype)
        dist.all_reduce(tensor, getattr(dist.ReduceOp, op))
        same(tensor, reduced(op, of_all(shape, dtype)))
    ranks = dist.get_world_size()
    for dtype in [torch.float32, torch.float64, torch.float16, torch.bfloat16]:
        tensor = data(rank, (100,), dtype)
        dist.all_reduce(tensor, dist.ReduceOp.AVG)
        mean = torch.stack(of_all((100,), dtype)).double().mean(0)
        assert torch.allclose(tensor.double(), mean, rtol=torch.finfo(dtype).eps, atol=0), ranks
    tensor = data(rank, (7, 5), torch.float32)
    dist.all_reduce(tensor, dist._make_nccl_premul_sum(0.5))
    same(tensor, reduced("SUM", of_all((7, 5), torch.float32)) / 2)


def check_bool(rank):
    for op, combine in [("PRODUCT", torch.all), ("MIN", torch.all), ("BAND", torch.all), ("BOR", torch.any)]:
        tensor = data(rank, (50,), torch.bool)
        dist.all_reduce(tensor, getattr(dist.ReduceOp, op))
        same(tensor, combine(torch.stack(of_all((50,), torch.bool)), dim=0))


def check_strided(rank):
    """What is not contiguous keeps its strides."""
    whole = torch.zeros(6, 8, 2)
    part = whole[::2, 1:5].transpose(0, 1)
    part.copy_(data(rank, part.shape, torch.float32))
    dist.all_reduce(part)
    same(part, reduced("SUM", of_all(part.shape, torch.float32)))
    assert whole[1::2].eq(0).all() and whole[:, 5:].eq(0).all()
    gathered = [torch.zeros(4, 3).t() for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, data(rank, (4, 3), torch.float32).t())
    for peer, tensor in enumerate(gathered):
        same(tensor, data(peer, (4, 3), torch.float32).t())


def check_reduce(rank):
    for root in range(dist.get_world_size()):
        for dtype, op, shape in cases([torch.float32, torch.bfloat16, torch.int64], ["SUM", "MAX"]):
            tensor = data(rank, shape, dtype, root)
            dist.reduce(tensor, root, getattr(dist.ReduceOp, op))
            same(tensor, reduced(op, of_all(shape, dtype, root)) if rank == root else data(rank, shape, dtype, root))


def check_reduce_scatter(rank):
    ranks = dist.get_world_size()
    for dtype, op, shape in [*cases(), *cases([torch.complex64, torch.bool], ["SUM"])]:
        if shape == ():
            continue
        inputs = of_all((ranks, *shape), dtype)
        expected = [reduced(op, [part[q] for part in inputs]) if dtype != torch.bool else
                    torch.stack([part[q] for part in inputs]).any(0) for q in range(ranks)]
        output = torch.empty(shape, dtype=dtype)
        dist.reduce_scatter_tensor(output, inputs[rank], getattr(dist.ReduceOp, op))
        same(output, expected[rank])
        output = torch.empty(shape, dtype=dtype)
        dist.reduce_scatter(output, list(inputs[rank].unbind(0)), getattr(dist.ReduceOp, op))
        same(output, expected[rank])
    lists = [[data(r, (q + 1,), torch.float32, q) for q in range(ranks)] for r in range(ranks)]  # uneven
    output = torch.empty(rank + 1)
    dist.reduce_scatter(output, lists[rank])
    same(output, reduced("SUM", [of_one[rank] for of_one in lists]))


def check_broadcast(rank):
    for root in range(dist.get_world_size()):
        for dtype in MOVED:
            for shape in SHAPES:
                tensor = data(rank, shape, dtype)
                dist.broadcast(tensor, root)
                same(tensor, data(root, shape, dtype))


def check_all_gather(rank):
    ranks = dist.get_world_size()
    for dtype in MOVED:
        for shape in SHAPES:
            mine, everybody = data(rank, shape, dtype), of_all(shape, dtype)
            gathered = [torch.empty(shape, dtype=dtype) for _ in range(ranks)]
            dist.all_gather(gathered, mine)
            for got, want in zip(gathered, everybody, strict=True):
                same(got, want)
            if shape == ():
                continue
            output = torch.empty((ranks * shape[0], *shape[1:]), dtype=dtype)
            dist.all_gather_into_tensor(output, mine)
            same(output.view(torch.uint8), torch.cat([t.view(torch.uint8) for t in everybody]))
    uneven = [torch.empty(q) for q in range(ranks)]
    dist.all_gather(uneven, data(rank, (rank,), torch.float32))
    for peer, tensor in enumerate(uneven):
        same(tensor, data(peer, (peer,), torch.float32))


def check_gather_and_scatter(rank):
    ranks = dist.get_world_size()
    for root in {0, ranks - 1}:
        for dtype in MOVED:
            for shape in SHAPES:
                gathered = [torch.empty(shape, dtype=dtype) for _ in range(ranks)] if rank == root else None
                dist.gather(data(rank, shape, dtype), gathered, root)
                for got, want in zip(gathered or [], of_all(shape, dtype)):
                    same(got, want)
                output = torch.empty(shape, dtype=dtype)
                dist.scatter(output, of_all(shape, dtype, 7) if rank == root else None, root)
                same(output, data(rank, shape, dtype, 7))


def check_all_to_all(rank):
    ranks = dist.get_world_size()
    for dtype in MOVED:
        rows = [[data(r, (2, 3), dtype, q) for q in range(ranks)] for r in range(ranks)]  # of r for q
        output = torch.empty((2 * ranks, 3), dtype=dtype)
        dist.all_to_all_single(output, torch.cat([t.view(torch.uint8) for t in rows[rank]]).view(dtype))
        same(output.view(torch.uint8), torch.cat([of_one[rank].view(torch.uint8) for of_one in rows]))
        outputs = [torch.empty((2, 3), dtype=dtype) for _ in range(ranks)]
        dist.all_to_all(outputs, rows[rank])
        for got, of_one in zip(outputs, rows, strict=True):
            same(got, of_one[rank])
    sent, received = [(rank + q) % 3 for q in range(ranks)], [(q + rank) % 3 for q in range(ranks)]
    parts = [[data(r, ((r + q) % 3, 2), torch.float32, q) for q in range(ranks)] for r in range(ranks)]
    output = torch.empty(sum(received), 2)
    dist.all_to_all_single(output, torch.cat(parts[rank]), received, sent)
    same(output, torch.cat([of_one[rank] for of_one in parts]))


def check_coalesced(rank):
    ranks = dist.get_world_size()
    with dist._coalescing_manager():
        tensors = [data(rank, (n,), torch.float32, n) for n in (1, 7, 64)]
        for tensor in tensors:
            dist.all_reduce(tensor)
    for n, tensor in zip((1, 7, 64), tensors, strict=True):
        same(tensor, reduced("SUM", of_all((n,), torch.float32, n)))
    outputs = [torch.empty(ranks * n) for n in (2, 9)]
    with dist._coalescing_manager(async_ops=True) as manager:
        for n, output in zip((2, 9), outputs, strict=True):
            dist.all_gather_into_tensor(output, data(rank, (n,), torch.float32, n))
    manager.wait()
    for n, output in zip((2, 9), outputs, strict=True):
        same(output, torch.cat(of_all((n,), torch.float32, n)))
    outputs = [torch.empty(n) for n in (2, 9)]
    with dist._coalescing_manager():
        for n, output in zip((2, 9), outputs, strict=True):
            dist.reduce_scatter_tensor(output, data(rank, (ranks, n), torch.float32, n))
    for n, output in zip((2, 9), outputs, strict=True):
        same(output, reduced("SUM", of_all((ranks, n), torch.float32, n))[rank])


def check_objects(rank):
    ranks = dist.get_world_size()
    objects = [None] * ranks
    dist.all_gather_object(objects, {"rank": rank, "text": "x" * (rank * 100)})
    assert objects == [{"rank": r, "text": "x" * (r * 100)} for r in range(ranks)]
    things = [rank, "of", [rank]]
    dist.broadcast_object_list(things, ranks - 1)
    assert things == [ranks - 1, "of", [ranks - 1]]
    gathered = [None] * ranks if rank == 0 else None
    dist.gather_object((rank,), gathered, 0)
    assert rank != 0 or gathered == [(r,) for r in range(ranks)]
    received = [None]
    dist.scatter_object_list(received, [f"for {r}" for r in range(ranks)] if rank == 0 else None, 0)
    assert received == [f"for {rank}"]
    dist.barrier()


def check_async(rank):
    """Handles: many under way, waited for in any order, as futures."""
    tensors = [torch.full((n,), float(rank)) for n in range(1, 40)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    total = sum(range(dist.get_world_size()))
    for work, tensor in reversed(list(zip(works, tensors, strict=True))):
        assert work.wait() and work.is_completed() and work.is_success()
        assert tensor.eq(total).all() and work.result()[0] is not None
    tensor = torch.ones(10)
    work = dist.all_reduce(tensor, async_op=True)
    doubled = work.get_future().then(lambda future: future.value()[0] * 2)
    assert doubled.wait().eq(2 * dist.get_world_size()).all() and work.is_completed()
    assert work.get_future().value()[0].data_ptr() == tensor.data_ptr()
    done = dist.group.WORLD.allreduce([torch.ones(3)]).get_future()
    assert done.wait()[0].eq(dist.get_world_size()).all()


CHECKS = [check_all_reduce, check_bool, check_strided, check_reduce, check_reduce_scatter, check_broadcast, check_all_gather,
          check_gather_and_scatter, check_all_to_all, check_coalesced, check_objects, check_async]


def make_all_checks(rank):
    assert dist.get_backend() == "weft"
    for check in CHECKS:
        check(rank)
    return rank


@pytest.mark.parametrize("ranks", [1, 3, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
def test_every_collective(ranks):
    assert run_ranks(ranks, make_all_checks, timeout=120) == list(range(ranks))
