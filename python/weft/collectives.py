# SPDX-License-Identifier: Apache-2.0
"""Collectives and messages: what programs of PyTorch and MPI know under these names.

Arrays are dense and of any dtype; parts for or of the ranks lie along axis 0, and counts and offsets are along it: of rows.
Elements are combined in the order of the ranks, so every rank gets the same bits, from run to run; float16 and bfloat16 in
fp32, rounded once. All ranks make the same calls in the same order. op: "sum", "prod", "max", "min". out: what to write to;
it may be `send` for allreduce, reduce and alltoall, a part of it for reduce_scatter and scatter, and have it as its part for
allgather. Errors: ValueError (before anything is sent), Mismatch, Timeout, PeerLost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from weft import _core
from weft.arrays import empty, shape_of
from weft.group import Group, member


def _times(counts: Sequence[int], row: int) -> list[int]:
    return [int(count) * row for count in counts]


def _offsets(counts: Sequence[int], offsets: Sequence[int] | None) -> Sequence[int]:
    """Those of parts that lie one after the other, if None."""
    return [0, *accumulate(counts)][:len(counts)] if offsets is None else offsets


def _end(counts: Sequence[int], offsets: Sequence[int]) -> int:
    return max((count + offset for count, offset in zip(counts, offsets)), default=0)


def allreduce(send: Any, *, group: Group, op: str = "sum", out: Any = None) -> Any:
    """op over all ranks of send, on every rank."""
    if out is None:
        out = empty(shape_of("send", send), send)
    _core.allreduce(member(group), send, out, op)
    return out


def reduce(send: Any, *, group: Group, root: int, op: str = "sum", out: Any = None) -> Any:
    """allreduce whose result only root gets; the others get None."""
    handle = member(group)
    if out is None and group.rank == root:
        out = empty(shape_of("send", send), send)
    _core.reduce(handle, send, out, op, root)
    return out


def reduce_scatter(send: Any, *, group: Group, op: str = "sum", out: Any = None) -> Any:
    """send (ranks·c, …) has a part for every rank, of which this rank gets op over all ranks: (c, …)."""
    handle = member(group)
    if out is None:
        first, *rest = (*shape_of("send", send),) or (0,)
        out = empty((first // group.ranks, *rest), send)
    _core.reduce_scatter(handle, send, out, op)
    return out


def reduce_scatterv(send: Any, counts: Sequence[int], *, group: Group, offsets: Sequence[int] | None = None, op: str = "sum",
                    out: Any = None) -> Any:
    """reduce_scatter with parts of counts[q] rows, the same on every rank, at offsets[q] of send."""
    handle = member(group)
    rest = shape_of("send", send)[1:]
    if out is None:
        out = empty((max(counts[group.rank], 0) if group.rank < len(counts) else 0, *rest), send)
    row = math.prod(rest)
    _core.reduce_scatterv(handle, send, _times(counts, row), _times(_offsets(counts, offsets), row), out, op)
    return out


def allgather(send: Any, *, group: Group, out: Any = None) -> Any:
    """send (c, …) of every rank, one after the other: (ranks·c, …), on every rank."""
    handle = member(group)
    if out is None:
        first, *rest = (*shape_of("send", send),) or (1,)
        out = empty((group.ranks * first, *rest), send)
    _core.allgather(handle, send, out)
    return out


def allgatherv(send: Any, counts: Sequence[int], *, group: Group, offsets: Sequence[int] | None = None,
               out: Any = None) -> Any:
    """allgather with counts[q] rows from rank q, the same on every rank, to offsets[q] of the result."""
    rest = shape_of("send", send)[1:]
    offsets = _offsets(counts, offsets)
    if out is None:
        out = empty((max(_end(counts, offsets), 0), *rest), send)
    row = math.prod(rest)
    _core.allgatherv(member(group), send, out, _times(counts, row), _times(offsets, row))
    return out


def broadcast(buffer: Any, *, group: Group, root: int) -> Any:
    """buffer becomes that of root, in place; returns it."""
    _core.broadcast(member(group), buffer, root)
    return buffer


def scatter(send: Any, *, group: Group, root: int, out: Any = None) -> Any:
    """Part q of root's send (ranks·c, …) to rank q, which gives `out` (c, …); send is None there."""
    handle = member(group)
    if out is None:
        if send is None:
            raise ValueError("scatter: out is missing; without send nothing else says what comes.")
        first, *rest = (*shape_of("send", send),) or (0,)
        out = empty((first // group.ranks, *rest), send)
    _core.scatter(handle, send, out, root)
    return out


def alltoall(send: Any, *, group: Group, out: Any = None) -> Any:
    """Part q of send goes to rank q; part r of the result is what rank r had for this one."""
    if out is None:
        out = empty(shape_of("send", send), send)
    _core.alltoall(member(group), send, out)
    return out


def alltoallv(send: Any, send_counts: Sequence[int], recv_counts: Sequence[int], *, group: Group,
              send_offsets: Sequence[int] | None = None, recv_offsets: Sequence[int] | None = None, out: Any = None) -> Any:
    """alltoall with send_counts[q] rows to rank q, which expects as many, and recv_counts[r] from rank r."""
    rest = shape_of("send", send)[1:]
    recv_offsets = _offsets(recv_counts, recv_offsets)
    if out is None:
        out = empty((max(_end(recv_counts, recv_offsets), 0), *rest), send)
    row = math.prod(rest)
    _core.alltoallv(member(group), send, out, _times(send_counts, row), _times(_offsets(send_counts, send_offsets), row),
                    _times(recv_counts, row), _times(recv_offsets, row))
    return out


def send(data: Any, *, group: Group, peer: int) -> None:
    """A message to one rank, which calls recv with as many elements. Returns when it has taken all of it."""
    _core.send(member(group), data, peer)


def recv(data: Any, *, group: Group, peer: int) -> Any:
    """Writes the next message of that rank to data; returns it."""
    _core.recv(member(group), data, peer)
    return data


class Send(NamedTuple):
    """A message of batch_send_recv."""

    data: Any
    peer: int


class Recv(NamedTuple):
    """A place for one."""

    data: Any
    peer: int


def batch_send_recv(messages: Iterable[Send | Recv], *, group: Group) -> None:
    """All messages at the same time, in any order; those of one kind with one peer in the order given."""
    flat: list[Any] = []
    for message in messages:
        if not isinstance(message, (Send, Recv)):
            raise TypeError(f"batch_send_recv: each message must be a weft.Send or weft.Recv, not {type(message).__name__}")
        flat += isinstance(message, Recv), *message
    _core.batch_send_recv(member(group), *flat)
