# SPDX-License-Identifier: Apache-2.0
"""From the process groups that a graph names to the keys that torch.ops.weft takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from weft.torch.compile.graph import Refused, require

_formed: WeakSet[Any] = WeakSet()  # process groups that have a weft group


def _key(group: Any) -> str:
    from weft.torch import group_key

    key = group_key(group)
    _formed.add(group)
    return key


class Groups:
    """given: by names of process groups, what weft.torch.group_key takes to use instead; None leaves their sums alone."""

    def __init__(self, given: Mapping[str, Any] | None):
        from weft.torch import group_key

        self._given = {name: None if group is None else group_key(group) for name, group in (given or {}).items()}

    def key(self, name: Any, ranks: int | None = None) -> str:
        """Collective where the process group has no weft group yet: it is formed now. Raises Refused."""
        require(isinstance(name, str), f"its group ({name}) is not a constant")
        if name in self._given:
            key = self._given[name]
            require(key is not None, f"group '{name}' is to be left alone")
            return key
        try:
            group = c10d._resolve_process_group(name)
        except (RuntimeError, ValueError, KeyError) as error:
            raise Refused(f"this process has no process group '{name}'") from error
        require(group.size() > 1, f"group '{name}' has one rank")
        require(ranks in (None, group.size()), f"group '{name}' has {group.size()} ranks, not {ranks}")
        return _key(group)

    def signature(self) -> tuple[tuple[str, str | None], ...] | None:
        """The keys that replacements depend on, for caches of compiled graphs; None while a process group may have no weft
        group yet: compiling forms it, so the graph must not come from a cache."""
        found = dict(self._given)
        for group, name in c10d._world.pg_names.items() if dist.is_initialized() else ():
            if name in found or group.size() == 1:
                continue
            if group not in _formed and "weft" not in str(dist.get_backend_config(group)):
                return None
            found[name] = _key(group)
        return tuple(sorted(found.items()))
