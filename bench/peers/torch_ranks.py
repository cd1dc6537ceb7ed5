# SPDX-License-Identifier: Apache-2.0
"""What peers on several ranks have in common: processes with gloo, and the time of the slowest of them."""

import datetime
import os
import tempfile

import torch_peer  # sets what PyTorch reads when it is imported
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def slowest(value):
    """The largest of all ranks. What is decided with it is decided alike everywhere."""
    largest = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest.item()


class Runner(torch_peer.Runner):
    """A rank's part of every measurement."""

    def __init__(self, rank, ranks, args):
        super().__init__(args)
        self.rank, self.ranks = rank, ranks

    def agreed(self, value):
        return slowest(value)

    def begin_together(self):
        dist.barrier()

    def line(self, case, **values):
        return case.line(self.ranks, **values)


def rank_main(rank, body, args, ranks, store):
    torch_peer.one_core(rank, ranks)
    torch.manual_seed(rank)
    # One rank may wait for a product of another, which takes minutes on some machines.
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks,
                            timeout=datetime.timedelta(days=1))
    with torch.inference_mode():
        body(rank, ranks, args)
    dist.destroy_process_group()


def run(body, ranks, args):
    """body(rank, ranks, args) in as many processes as there are ranks."""
    with tempfile.TemporaryDirectory() as folder:
        # Forked, for importing PyTorch again takes seconds of the budget for each rank.
        mp.start_processes(rank_main, (body, args, ranks, os.path.join(folder, "store")), nprocs=ranks,
                           start_method="fork")
