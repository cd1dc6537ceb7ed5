# SPDX-License-Identifier: Apache-2.0
"""What stands for a group of weft in PyTorch programs: a key, a weft.Group, or a process group of torch.distributed."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import distributed

from weft import _core
from weft.group import Group
from weft.torch import _torch

AnyGroup = str | Group | distributed.ProcessGroup
_beside: weakref.WeakKeyDictionary[Any, Group] = weakref.WeakKeyDictionary()


def group_key(group: AnyGroup) -> str:
    """What torch.ops.weft takes for a group: a key (returned as it is), a weft.Group, or a process group.

    A process group of the backend weft is one already: operators and its own collectives take turns. Beside one of another
    backend a group of weft is formed, once: the first call is collective. Errors: TypeError, those of Group.from_torch.
    """
    if isinstance(group, str):
        return group
    if isinstance(group, Group):
        return group.key
    if isinstance(group, distributed.ProcessGroup):
        backend = _backend(group)
        return backend.key if backend is not None else beside(group).key
    raise TypeError(f"group is a {type(group).__name__}; pass a weft.Group, its key, or a torch.distributed.ProcessGroup")


def from_torch(group: Any) -> Group:
    """The weft.Group of a process group, or of the default one; see Group.from_torch."""
    group = distributed.group.WORLD if group is None else group
    if group is None:
        raise ValueError("there is no process group yet; call torch.distributed.init_process_group first")
    backend = _backend(group)
    return Group(_core.find(backend.key)) if backend is not None else beside(group)


def beside(group: Any) -> Group:
    """The group of weft beside a process group of another backend, which is formed if there is none."""
    known = _beside.get(group)
    if known is None or known.closed:
        c10d = distributed.distributed_c10d
        store = c10d.PrefixStore("weft/", c10d._get_process_group_store(group))
        timeout = c10d._get_default_timeout(c10d.Backend("weft"))
        handle = _torch.join(store, group.rank(), group.size(), f"{group.group_name}/weft", timeout)
        known = _beside[group] = Group(_core.find(handle.key))
    return known


def _backend(group: Any) -> Any:
    """The backend weft of a process group for CPU tensors; None: it has another."""
    if torch.device("cpu") not in group._device_types:
        raise ValueError(f"the process group {group.group_name} has no backend for cpu tensors")
    backend = group._get_backend(torch.device("cpu"))
    return backend if isinstance(backend, _torch.ProcessGroup) else None
