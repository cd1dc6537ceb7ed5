# SPDX-License-Identifier: Apache-2.0
"""Groups: how their waits end."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

import weft


def test_abort_ends_the_wait_of_another_rank():
    first, second = weft.Group.local(2)
    with first, second:
        timer = threading.Timer(0.1, second.abort, ["enough"])
        timer.start()
        with pytest.raises(weft.PeerLost, match="enough"):
            first.barrier()
        with pytest.raises(weft.PeerLost, match="enough"):
            second.health()


def barrier_alone(id, pipe):
    group = weft.Group.join(id, 0, 2)
    pipe.send("joined")
    try:
        group.barrier()
    except KeyboardInterrupt:
        pipe.send(time.monotonic())


def interrupted_after():
    """How long a rank took to leave its wait, whose peer must have noticed."""
    id = weft.unique_id()
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=barrier_alone, args=(id, there))
    child.start()
    group = weft.Group.join(id, 1, 2)
    assert here.recv() == "joined"
    time.sleep(0.3)
    sent = time.monotonic()
    os.kill(child.pid, signal.SIGINT)
    assert here.poll(10)
    with pytest.raises(weft.PeerLost, match="rank 0"):
        group.barrier()
    child.join()
    assert child.exitcode == 0
    return here.recv() - sent


def test_an_interrupt_ends_the_wait_and_the_peer():
    assert any(interrupted_after() < 0.1 for _ in range(4))  # others may be using the machine


def test_a_closed_group_frees_its_name():
    (first,) = weft.Group.local(1, name="again")
    with pytest.raises(ValueError, match="again"):
        weft.Group.local(1, name="again")
    first.close()
    (second,) = weft.Group.local(1, name="again")
    second.barrier()
    assert first.closed and second.key == first.key
