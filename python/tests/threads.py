# SPDX-License-Identifier: Apache-2.0
"""Ranks that are threads of the test's process."""

import threading

import weft


def run_threads(ranks, function, **options):
    """function(group) on every rank of a group of threads; its results in the order of the ranks. Raises what the first rank
    that failed by itself raised: PeerLost only if there is nothing else."""
    groups = weft.Group.local(ranks, threads=1, timeout=20, **options)
    results, errors = [None] * ranks, []

    def run(rank):
        try:
            with groups[rank] as group:
                results[rank] = function(group)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise min(errors, key=lambda error: isinstance(error, weft.PeerLost))
    return results
