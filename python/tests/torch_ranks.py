# SPDX-License-Identifier: Apache-2.0
"""Ranks as threads of this process, for tests of operators."""

import concurrent.futures

import weft


def on_ranks(ranks, function, **options):
    """[function(rank, group) of every rank], each on a thread of its own with one thread to compute with."""
    groups = weft.Group.local(ranks, threads=1, timeout=60, **options)

    def main(rank):
        with groups[rank] as group:  # a rank that fails leaves, which ends the calls of the others
            return function(rank, group)

    with concurrent.futures.ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(main, range(ranks)))
