# SPDX-License-Identifier: Apache-2.0
"""Programs of several rank processes with torch.distributed, for tests."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.multiprocessing
from torch import distributed


def run_ranks(ranks: int, function: Callable[..., Any], *args: Any, backend: str | None = "weft", timeout: float = 60,
              start: str = "spawn") -> list[Any]:
    """What function(rank, *args) returns in each of so many new processes, in which init_process_group(backend) has been
    called (None: nothing has). Raises AssertionError with the traceback of every rank that raised, ended or was late.
    function must be one that a new process can import; start is a method of multiprocessing."""
    context = torch.multiprocessing.get_context(start)
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(ranks):
            ours, theirs = context.Pipe(duplex=False)
            processes.append(context.Process(target=_run, daemon=True, args=(
                theirs, os.path.join(folder, "store"), rank, ranks, backend, timeout, function, args)))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        deadline = time.monotonic() + timeout
        outcomes = [_outcome(pipe, deadline) for pipe in pipes]
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()) + 1)
            if process.is_alive():
                outcomes.append((False, f"process {process.pid} did not end"))
                process.kill()
    wrong = [f"rank {rank}:\n{text}" for rank, (fine, text) in enumerate(outcomes) if not fine]
    assert not wrong, "\n".join(wrong)
    return [value for _, value in outcomes]


def _outcome(pipe: Any, deadline: float) -> tuple[bool, Any]:
    if not pipe.poll(max(0.0, deadline - time.monotonic())):
        return False, "did not answer in time"
    try:
        return pipe.recv()
    except EOFError:
        return False, "ended without an answer"


def _run(pipe: Any, store: str, rank: int, ranks: int, backend: str | None, timeout: float, function: Callable[..., Any],
         args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        if backend is not None:
            distributed.init_process_group(backend, store=distributed.FileStore(store, ranks), rank=rank, world_size=ranks,
                                           timeout=timedelta(seconds=timeout))
        outcome = True, function(rank, *args)
        if backend is not None and distributed.is_initialized():
            distributed.destroy_process_group()
    except BaseException:
        outcome = False, traceback.format_exc()
    pipe.send(outcome)
