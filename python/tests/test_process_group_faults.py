# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in process groups, and how they begin and end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
import torch
from ranks import run_ranks
from torch import distributed as dist

import weft

# Not --standalone, which asks for the address of the host's name: not every machine has one.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--node-rank=0", "--master-addr=127.0.0.1"]


def raised(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def check_arguments(rank):
    """A wrong call names what is wrong and leaves the group usable."""
    error = raised(dist.all_reduce, torch.zeros(3, dtype=torch.float8_e4m3fn))
    assert isinstance(error, ValueError) and "Float8_e4m3fn" in str(error) and "sum" in str(error)
    error = raised(dist.all_gather_into_tensor, torch.zeros(3), torch.zeros(3))
    assert isinstance(error, ValueError) and "must have 2 (ranks) x 3" in str(error), error
    error = raised(dist.all_reduce, torch.zeros(3).to_sparse())
    assert isinstance(error, (ValueError, RuntimeError)) and "parse" in str(error), error
    error = raised(dist.all_to_all_single, torch.zeros(4), torch.zeros(3))
    assert isinstance(error, ValueError) and "3 rows" in str(error), error
    group = dist.group.WORLD
    error = raised(lambda: group.reduce_scatter([torch.zeros(2)], [[torch.zeros(2)] * 3]).wait())
    assert isinstance(error, ValueError) and "3 inputs but 2 ranks" in str(error), error
    dist.barrier()


def check_groups(rank):
    """Subgroups, their keys, and operators in turn with collectives."""
    alone = [dist.new_group([r]) for r in range(2)][rank]
    both = dist.new_group(backend="cpu:weft", timeout=timedelta(seconds=30))
    for group, ranks in ((alone, 1), (both, 2), (dist.group.WORLD, 2)):
        tensor = torch.ones(2)
        dist.all_reduce(tensor, group=group)
        assert tensor.eq(ranks).all()
        assert weft.torch.group_key(group) == group.group_name
    known = weft.Group.from_torch(both)
    assert (known.rank, known.ranks, known.key) == (rank, 2, both.group_name)
    work = dist.all_reduce(tensor, group=both, async_op=True)
    known.barrier()
    assert tensor.eq(4).all() and work.wait()
    dist.destroy_process_group(alone)
    assert weft.Group.from_torch().key == dist.group.WORLD.group_name
    dist.destroy_process_group(both)
    assert known.closed and isinstance(raised(known.barrier), ValueError)
    reduced = torch.ones(1)
    dist.all_reduce(reduced)
    assert reduced == 2


def check_split(rank):
    """Backend.split through the C++ API: dist.split_group wants an accelerator first."""
    parts = dist.group.WORLD.split_group([rank])
    tensor = torch.ones(2)
    parts.allreduce([tensor]).wait()
    assert parts.size() == 1 and tensor.eq(1).all()
    parts.shutdown()


def check_beside_gloo(rank):
    group = dist.new_group(backend="gloo")
    key = weft.torch.group_key(group)
    assert key == weft.torch.group_key(group) == weft.Group.from_torch(group).key
    weft.Group.from_torch(group).barrier()
    weft.Group.from_torch(group).close()


def check_timeouts(rank):
    """A late rank is named; wait(timeout) gives up waiting, not the call."""
    group = dist.new_group(timeout=timedelta(seconds=30))
    if rank == 0:
        tensor = torch.ones(1)
        work = dist.all_reduce(tensor, group=group, async_op=True)
        error = raised(work.wait, timedelta(milliseconds=100))
        assert isinstance(error, weft.Timeout) and not work.is_completed(), error
        dist.barrier()
        assert work.wait() and tensor == 2
    else:
        dist.barrier()
        tensor = torch.ones(1)
        dist.all_reduce(tensor, group=group)
    dist.barrier()
    begin = time.monotonic()
    if rank == 0:
        options = dist.AllreduceOptions()
        options.timeout = timedelta(milliseconds=300)
        options.asyncOp = False
        error = raised(group.allreduce, [torch.ones(1)], options)
        assert isinstance(error, weft.Timeout) and "rank 1" in str(error) and time.monotonic() - begin < 10, error
        assert isinstance(raised(dist.barrier, group=group), weft.Timeout)
    dist.barrier()


def check_monitored_barrier(rank):
    group = dist.new_group()
    group.monitored_barrier(timedelta(seconds=30), True)
    if rank == 0:
        error = raised(group.monitored_barrier, timedelta(milliseconds=300), True)
        assert "did not come: 1." in str(error), error
    dist.barrier()
    assert "GLOO" in str(raised(dist.monitored_barrier))


def check_abort(rank):
    group = dist.new_group()
    dist.barrier()  # the other rank has it, too
    if rank == 0:
        work = dist.all_reduce(torch.ones(1), group=group, async_op=True)
        group.abort()
        assert isinstance(raised(work.wait), weft.PeerLost) and not work.is_success()
        assert isinstance(raised(work.get_future().wait), Exception)
    dist.barrier()
    if rank == 1:
        assert "rank 0" in str(raised(dist.all_reduce, torch.ones(1), group=group))


def check_again(rank, store):
    """destroy and init again in one process, over one store."""
    for _ in range(3):
        dist.destroy_process_group()
        dist.init_process_group("weft", store=dist.FileStore(store, 2), rank=rank, world_size=2)
        tensor = torch.ones(1)
        dist.all_reduce(tensor)
        assert tensor == 2


def make_all_checks(rank, store):
    for check in [check_arguments, check_groups, check_split, check_beside_gloo, check_timeouts, check_monitored_barrier,
                  check_abort]:
        check(rank)
        dist.barrier()
    check_again(rank, store)


def test_groups_and_their_errors(tmp_path):
    run_ranks(2, make_all_checks, str(tmp_path / "again"), timeout=100)


def die_in_call(rank):
    group = dist.new_group([1, 2], use_local_synchronization=True) if rank > 0 else None
    if rank == 2:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        time.sleep(60)
    begin = time.monotonic()
    error = raised(dist.all_reduce, torch.ones(1000))
    late = time.monotonic() - begin
    assert isinstance(error, weft.PeerLost) and isinstance(error, RuntimeError) and "rank 2" in str(error), error
    if group is not None:
        error = raised(dist.all_reduce, torch.ones(1000), group=group)
        assert "of the process group" in str(error) and "are ranks 1, 2 of the program" in str(error), error
    return late


def test_killed_rank():
    with pytest.raises(AssertionError, match="rank 2:\nended without an answer") as told:
        run_ranks(3, die_in_call, start="forkserver")
    assert "rank 0" not in str(told.value) and "rank 1" not in str(told.value), told.value


FORGETS = """
import os, torch, torch.distributed as dist
dist.init_process_group("weft")
tensor = torch.ones(3)
dist.all_reduce(tensor)
works = [dist.all_reduce(torch.ones(1000), async_op=True) for _ in range(3)]
os.write(1, f"sum {tensor.tolist()}\\n".encode())  # in one piece: both ranks write to one pipe
"""


def launch(tmp_path, program, ranks=2):
    (tmp_path / "program.py").write_text(program)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.Popen([*TORCHRUN, f"--master-port={port}", f"--nproc-per-node={ranks}", str(tmp_path / "program.py")],
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def test_torchrun_and_forgotten_destroy(tmp_path):
    process = launch(tmp_path, FORGETS)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and text.count("sum [2.0, 2.0, 2.0]") == 2, text


INTERRUPTED = """
import os, signal, time, torch, torch.distributed as dist
dist.init_process_group("weft")
group = dist.new_group()
rank = dist.get_rank()
dist.barrier()
os.write(1, b"ready\\n")
try:
    if rank == 0: dist.all_reduce(torch.ones(3))
    elif rank == 1: dist.all_reduce(torch.ones(3), group=group, async_op=True).wait()
    else: time.sleep(60)
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun sends it once more
    os.write(1, f"interrupted {rank}\\n".encode())
    raise SystemExit(3)
"""


def test_ctrl_c_under_torchrun(tmp_path):
    process = launch(tmp_path, INTERRUPTED, ranks=3)
    text = ""
    while text.count("ready") < 3:
        line = process.stdout.readline()
        assert line, f"torchrun ended with {process.wait()}: {text}"
        text += line
    time.sleep(0.3)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert "interrupted 0" in rest and "interrupted 1" in rest and time.monotonic() - begin < 20, text + rest
