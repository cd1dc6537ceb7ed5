# SPDX-License-Identifier: Apache-2.0
"""Messages between two ranks, beside collectives."""

import time

import torch
from ranks import run_ranks
from torch import distributed as dist

import weft


def check_types(rank):
    ranks = dist.get_world_size()
    peer, source = (rank + 1) % ranks, (rank - 1) % ranks
    for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.complex128, torch.float8_e4m3fn):
        for shape in ((3, 2), (0,), (), (70_001,)):
            sent = torch.full(shape, rank + 1, dtype=torch.float32).to(dtype)
            received = torch.empty(shape, dtype=dtype)
            work = dist.isend(sent, peer)
            dist.recv(received, source)
            work.wait()
            assert torch.equal(received.view(-1).view(torch.uint8),
                               torch.full(shape, source + 1, dtype=torch.float32).to(dtype).view(-1).view(torch.uint8))
    strided = torch.zeros(4, 6)
    work = dist.isend(torch.arange(8.0).view(2, 4).t(), peer)
    dist.recv(strided[:, ::3], source)
    work.wait()
    assert strided[:, ::3].equal(torch.arange(8.0).view(2, 4).t()) and strided[:, 1::3].eq(0).all()


def check_order_and_batch(rank):
    """Large messages, both ways at once, in the order of a pair."""
    ranks = dist.get_world_size()
    operations, received = [], {}
    for peer in range(ranks):
        for number in range(3):
            if peer != rank:
                received[peer, number] = torch.empty(300_000)
                operations += [dist.P2POp(dist.isend, torch.full((300_000,), float(10 * rank + number)), peer),
                               dist.P2POp(dist.irecv, received[peer, number], peer)]
    for work in dist.batch_isend_irecv(operations) if operations else []:
        work.wait()
    for (peer, number), tensor in received.items():
        assert tensor.eq(10 * peer + number).all()


def check_beside_collectives(rank):
    """A message that nobody takes for a while hinders no collective, and arrives while the rank computes."""
    received = torch.zeros(500_000)
    if rank == 0:
        work = dist.irecv(received, 1)
    elif rank == 1:
        work = dist.isend(torch.full((500_000,), 7.0), 0)
    for _ in range(5):
        dist.all_reduce(torch.ones(100))
    if rank < 2:
        while not work.is_completed():
            time.sleep(0.001)
        work.wait()
    assert rank > 0 or received.eq(7).all()


def check_any_source(rank):
    ranks = dist.get_world_size()
    if rank > 0:
        return dist.send(torch.tensor([rank]), 0, tag=4)
    sources = []
    for _ in range(ranks - 1):
        tensor = torch.zeros(1, dtype=torch.int64)
        sources.append(dist.recv(tensor, tag=4))
        assert sources[-1] == tensor.item()
    assert sorted(sources) == list(range(1, ranks))


def check_objects(rank):
    things = [{"from": rank}, rank]
    if rank == 1:
        dist.send_object_list(things, 0)
    elif rank == 0:
        dist.recv_object_list(things, 1)
        assert things == [{"from": 1}, 1]


def check_mismatch(rank):
    """Both sides of a message say the same of it, or both are told."""
    group = dist.new_group([0, 1])
    if rank > 1:
        return
    try:
        if rank == 0:
            dist.isend(torch.zeros(5), 1, group=group).wait()
            dist.recv(torch.zeros(1), 1, group=group)
        else:
            dist.recv(torch.zeros(4), 0, group=group)
    except weft.Mismatch as error:
        assert "4" in str(error) and "5" in str(error), error
    else:
        raise AssertionError("nothing was wrong")


def make_all_checks(rank):
    for check in [check_types, check_order_and_batch, check_beside_collectives, check_any_source, check_objects,
                  check_mismatch]:
        check(rank)
        dist.barrier()


def test_messages():
    run_ranks(3, make_all_checks)
