# SPDX-License-Identifier: Apache-2.0
"""How calls behave: in place, several threads, without the GIL, in processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from numbers_of import Random
from threads import run_threads

import weft

M, K, N = 64, 256, 512


def fused(group, out=None):
    random = Random(group.rank)
    operands = random.floats(M, K), random.floats(K, N), random.floats(M, N), random.floats(N)
    return weft.matmul_allreduce_add_rmsnorm(*operands, group=group, out=out)


def test_nothing_of_operand_size_is_allocated():
    [group] = weft.Group.local(1, threads=1)
    random = Random(1)
    x1, x2, residual, gamma = random.floats(M, K), random.floats(K, N), random.floats(M, N), random.floats(N)
    y, norm_out = np.empty((2, M, N), np.float16)
    plan = weft.MatmulAllReduceAddRmsNorm(x1, x2, residual, gamma, group=group)

    def peak(call):
        call()
        tracemalloc.start()
        call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    for run in (plan.run, lambda *a, **k: weft.matmul_allreduce_add_rmsnorm(*a, group=group, **k)):
        assert peak(lambda: run(x1, x2, residual, gamma, out=(y, norm_out))) < 4096
        results = 2 * y.nbytes
        assert results <= peak(lambda: run(x1, x2, residual, gamma)) < results + 4096
    operands = residual.ctypes.data
    in_place = weft.matmul_allreduce_add_rmsnorm_(x1, x2, residual, gamma, group=group, out=norm_out)
    assert in_place is norm_out and residual.ctypes.data == operands
    np.testing.assert_array_equal(residual, y)


def test_a_group_for_each_thread():
    alone = run_threads(3, fused)
    together, threads = [None] * 3, []
    for i in range(3):
        threads.append(threading.Thread(target=lambda i=i: together.__setitem__(i, run_threads(3, fused))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for results in together:
        np.testing.assert_array_equal(results, alone)


def test_threads_share_a_context():
    context, random = weft.Context(1), Random(2)
    x, w1, w2 = random.floats(4, K), random.floats(K, N), random.floats(N, K)
    want, wrong = weft.ffn(x, w1, w2, context=context), []

    def body():
        for _ in range(20):
            if not np.array_equal(weft.ffn(x, w1, w2, context=context), want):
                wrong.append(1)

    threads = [threading.Thread(target=body) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("what", ["waiting", "computing"])
def test_the_gil_is_released(what):
    """A thread inside a call of weft, another one that counts."""
    first, second = weft.Group.local(2, threads=1, timeout=20)
    inside, counted = threading.Event(), 0
    x = np.ones((2048, 1024), np.float16)
    w = np.ones((1024, 1024), np.float16)

    def call():
        inside.set()
        if what == "waiting":
            weft.recv(np.empty(1), group=first, peer=1)
        else:
            for _ in range(3):
                weft.ffn(x, w, w, context=first)
        inside.clear()

    thread = threading.Thread(target=call)
    thread.start()
    inside.wait()
    begin = time.monotonic()
    while inside.is_set() and time.monotonic() - begin < 0.2:
        counted += 1
    if what == "waiting":
        assert inside.is_set()
        weft.send(np.ones(1), group=second, peer=0)
    thread.join()
    assert counted > 1000


def test_a_signal_ends_the_wait():
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    groups = weft.Group.local(2, timeout=20)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        begin = time.monotonic()
        with pytest.raises(Stop):
            weft.allreduce(np.ones(1), group=groups[0])
        assert time.monotonic() - begin < 0.2
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(weft.PeerLost, match="rank 0"):
        weft.allreduce(np.ones(1), group=groups[1])


ENDS = """
import threading, time, weft
first, second = weft.Group.local(2, timeout=20)
threading.Thread(target=first.barrier, daemon=True).start()
time.sleep(0.1)
print("the end")
"""


def test_a_program_may_end_with_a_thread_in_a_call(tmp_path):
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")


def test_with_closes_and_errors_are_mapped():
    groups = weft.Group.local(2, timeout=0.1)
    with groups[0] as group, pytest.raises(weft.Timeout, match="rank 1") as caught:
        weft.allreduce(np.ones(1), group=group)
    assert isinstance(caught.value, (TimeoutError, weft.Error)) and groups[0].closed
    groups[1].close()
    groups = weft.Group.local(2, timeout=20)
    groups[0].close()
    with pytest.raises(weft.PeerLost, match="rank 0") as caught:
        groups[1].barrier()
    assert isinstance(caught.value, (ConnectionError, weft.Error))
    groups[1].close()
    with pytest.raises(ValueError, match="closed"):
        groups[1].memory_use()


def test_mismatch():
    def body(group):
        with pytest.raises(weft.Mismatch, match="allreduce"):
            weft.allreduce(np.ones(1 + group.rank), group=group)

    run_threads(2, body)


def test_memory_use():
    def body(group):
        before = group.memory_use()
        weft.allreduce(np.ones(100000), group=group)
        return before, group.memory_use()

    for before, after in run_threads(2, body, window_bytes=1 << 22):
        assert after.bytes == before.bytes >= 1 << 22
        assert before.resident_bytes < after.resident_bytes <= after.bytes
        assert 0 <= after.huge_page_bytes <= after.bytes


def work(id, rank, pipe):
    with weft.Group.join(id, rank, 2, threads=1, timeout=20) as group:
        pipe.send([np.asarray(each) for each in fused(group)])
        pipe.recv()


def test_processes_give_the_same_bits():
    want, id = run_threads(2, fused), weft.unique_id()
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(2)]
    ranks = [spawn.Process(target=work, args=(id, rank, pipes[rank][1])) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for (pipe, _), expected in zip(pipes, want):
        assert pipe.poll(30)
        np.testing.assert_array_equal(pipe.recv(), expected)
    for pipe, _ in pipes:
        pipe.send("leave")
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0


def test_a_forked_child_is_told():
    [group] = weft.Group.local(1, threads=2)
    x = np.ones((2, 32), np.float16)
    weft.matmul_allreduce(x, x.T, group=group)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            weft.matmul_allreduce(x, x.T, group=group)
        except Exception as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    assert message.startswith("ValueError") and "fork" in message
    weft.matmul_allreduce(x, x.T, group=group)
