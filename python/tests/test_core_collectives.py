# SPDX-License-Identifier: Apache-2.0
"""Collectives and messages over arrays."""

import numpy as np
import pytest
from numbers_of import Random
from threads import run_threads

import weft

RANKS = 3


def of(rank, *shape, dtype=np.int32):
    return Random(rank + 1).generator.integers(-9, 9, shape).astype(dtype)


OPS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


@pytest.mark.parametrize("op", OPS)
def test_reductions(op):
    want = OPS[op].reduce([of(rank, 2 * RANKS, 5) for rank in range(RANKS)])

    def body(group):
        x = of(group.rank, 2 * RANKS, 5)
        return (weft.allreduce(x, group=group, op=op), weft.reduce(x, group=group, root=1, op=op),
                weft.reduce_scatter(x, group=group, op=op), weft.reduce_scatterv(x, [1, 3, 2], group=group, op=op),
                weft.reduce_scatterv(x, [1, 0, 2], group=group, op=op, offsets=[4, 0, 1]))

    results = run_threads(RANKS, body)
    for rank, (all_of_it, reduced, part, slices, placed) in enumerate(results):
        np.testing.assert_array_equal(all_of_it, want)
        assert (reduced is None) == (rank != 1)
        np.testing.assert_array_equal(part, want[2 * rank:2 * rank + 2])
        np.testing.assert_array_equal(slices, np.split(want, [1, 4])[rank])
        np.testing.assert_array_equal(placed, [want[4:5], want[:0], want[1:3]][rank])
    np.testing.assert_array_equal(results[1][1], want)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "bool", "int64"])
def test_gathers(dtype):
    parts = [of(rank, 2, 4, dtype=dtype) for rank in range(RANKS)]

    def body(group):
        x = parts[group.rank]
        uneven = np.repeat(x[:1], group.rank, axis=0)
        return (weft.allgather(x, group=group), weft.allgatherv(uneven, [0, 1, 2], group=group),
                weft.allgatherv(uneven, [0, 1, 2], group=group, offsets=[0, 2, 0]),
                weft.broadcast(x.copy(), group=group, root=2), weft.allgather(np.array(group.rank), group=group))

    for gathered, uneven, placed, cast, scalars in run_threads(RANKS, body):
        np.testing.assert_array_equal(gathered, np.concatenate(parts))
        np.testing.assert_array_equal(uneven, [parts[1][0], parts[2][0], parts[2][0]])
        np.testing.assert_array_equal(placed, [parts[2][0], parts[2][0], parts[1][0]])
        np.testing.assert_array_equal(cast, parts[2])
        np.testing.assert_array_equal(scalars, range(RANKS))


def test_scatter_and_alltoall():
    whole = of(9, 2 * RANKS, 3)

    def body(group):
        rank, x = group.rank, of(group.rank, RANKS, 2)
        mine = weft.scatter(whole if rank == 1 else None, group=group, root=1, out=np.empty((2, 3), np.int32))
        parts = [np.full((rank + q, 2), 10 * rank + q, np.int32) for q in range(RANKS)]
        got = weft.alltoallv(np.concatenate(parts), [rank + q for q in range(RANKS)], [rank + q for q in range(RANKS)],
                             group=group)
        backwards = [RANKS - 1 - q for q in range(RANKS)]
        placed = weft.alltoallv(x, [1] * RANKS, [1] * RANKS, group=group, send_offsets=backwards, recv_offsets=backwards)
        return mine, weft.alltoall(x, group=group), got, placed

    for rank, (mine, turned, got, placed) in enumerate(run_threads(RANKS, body)):
        np.testing.assert_array_equal(mine, whole[2 * rank:2 * rank + 2])
        np.testing.assert_array_equal(turned, [of(r, RANKS, 2)[rank] for r in range(RANKS)])
        np.testing.assert_array_equal(got, np.concatenate([np.full((rank + r, 2), 10 * r + rank) for r in range(RANKS)]))
        np.testing.assert_array_equal(placed[::-1], [of(r, RANKS, 2)[::-1][rank] for r in range(RANKS)])


def test_messages():
    def body(group):
        rank, after, before = group.rank, (group.rank + 1) % RANKS, (group.rank - 1) % RANKS
        received = [np.empty(4, np.int32), np.empty(2, np.float32)]
        weft.batch_send_recv([weft.Send(of(rank, 4), after), weft.Recv(received[0], before),
                              weft.Send(np.full(2, rank, np.float32), peer=before), weft.Recv(received[1], peer=after)],
                             group=group)
        if rank == 0:
            weft.send(np.arange(3.0), group=group, peer=2)
        if rank == 2:
            np.testing.assert_array_equal(weft.recv(np.empty(3), group=group, peer=0), range(3))
        return received

    for rank, (first, second) in enumerate(run_threads(RANKS, body)):
        np.testing.assert_array_equal(first, of((rank - 1) % RANKS, 4))
        np.testing.assert_array_equal(second, [(rank + 1) % RANKS] * 2)


def test_out_may_be_the_operand():
    def body(group):
        x, y = of(group.rank, RANKS), of(group.rank, RANKS)
        assert weft.allreduce(x, group=group, out=x) is x
        assert weft.alltoall(y, group=group, out=y) is y
        whole = np.empty(RANKS, np.int32)
        own = whole[group.rank:group.rank + 1]
        own[:] = group.rank
        weft.allgather(own, group=group, out=whole)
        return x, y, whole

    for rank, (x, y, whole) in enumerate(run_threads(RANKS, body)):
        np.testing.assert_array_equal(x, sum(of(r, RANKS) for r in range(RANKS)))
        np.testing.assert_array_equal(y, [of(r, RANKS)[rank] for r in range(RANKS)])
        np.testing.assert_array_equal(whole, range(RANKS))


def test_torch_tensors():
    torch = pytest.importorskip("torch")

    def body(group):
        x = torch.full((RANKS, 2), group.rank + 1.0, dtype=torch.bfloat16)
        return weft.allreduce(x, group=group), weft.reduce_scatter(x, group=group), weft.allgather(x[:1], group=group)

    for total, part, gathered in run_threads(RANKS, body):
        assert torch.equal(total, torch.full((RANKS, 2), 6.0, dtype=torch.bfloat16))
        assert torch.equal(part, total[:1])
        assert torch.equal(gathered[:, 0], torch.arange(1.0, RANKS + 1, dtype=torch.bfloat16))


@pytest.mark.parametrize("call,message", [
    (lambda g: weft.allreduce(np.zeros((4, 4))[:, :2], group=g), "allreduce: send .*dense"),
    (lambda g: weft.allreduce(np.zeros(4), group=g, out=np.zeros(5)), "allreduce: recv .*4 elements"),
    (lambda g: weft.allreduce(np.zeros(4), group=g, out=np.zeros(4, np.float32)), "recv is float32.*send is float64"),
    (lambda g: weft.allreduce(np.zeros(4), group=g, op="mean"), "op is 'mean'.*sum, prod, max, min"),
    (lambda g: weft.allgatherv(np.zeros(1), [1, 2], group=g, out=np.zeros(2)), "recv .*3 elements"),
    (lambda g: weft.reduce_scatterv(np.zeros(3), [2, 2], group=g), "send .*4 elements"),
    (lambda g: weft.reduce_scatterv(np.zeros(3), [2], group=g), "counts"),
    (lambda g: weft.alltoall(np.zeros(3), group=g), "send .* elements"),
    (lambda g: weft.broadcast(np.zeros(3), group=g, root=2), "root"),
    (lambda g: weft.scatter(None, group=g, root=1), "out is missing"),
    (lambda g: weft.send(np.zeros(3), group=g, peer=-1), "peer"),
    (lambda g: weft.recv(np.broadcast_to(np.zeros(1), 3), group=g, peer=1), "read-only"),
])
def test_errors(call, message):
    def body(group):
        with pytest.raises(ValueError, match=message):
            call(group)
        group.health()

    run_threads(2, body)
