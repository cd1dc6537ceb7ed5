# SPDX-License-Identifier: Apache-2.0
"""The process group "weft" of torch.distributed. What it does is in docs/python/process_group.md."""

from __future__ import annotations

import atexit
import os
import weakref
from datetime import timedelta
from typing import Any

from weft.torch import _torch

_formed: weakref.WeakSet[Any] = weakref.WeakSet()
_process = os.getpid()
_GRACE = timedelta(seconds=5)  # a call whose peers are alive ends sooner


def create(options: Any, backend_options: Any = None) -> Any:
    """What torch.distributed calls to form a group. Collective.

    Errors: ValueError, weft.Mismatch, weft.Timeout, weft.PeerLost.
    """
    if backend_options is not None and not isinstance(backend_options, _torch.ProcessGroup.Options):
        raise ValueError(f"init_process_group: pg_options is a {type(backend_options).__name__}, but the backend weft has "
                         "no options; leave it out.")
    formed = _torch.ProcessGroup(options.store, options.group_rank, options.group_size, options.group_id,
                                 list(options.global_ranks_in_group), options.timeout)
    _formed.add(formed)
    return formed


@atexit.register
def _leave_all() -> None:
    """A program that forgets destroy_process_group leaves its groups here, while Python can still run what ends with a
    call."""
    if os.getpid() == _process:
        for group in list(_formed):
            group.leave(_GRACE)
