# SPDX-License-Identifier: Apache-2.0
"""What `group=` may be, and the key that the operators take for it."""

from __future__ import annotations

from weft.group import Group


def group_key(group: str | Group) -> str:
    """What torch.ops.weft.* takes for a group: a key, as it is, or a weft.Group. Error: TypeError."""
    if isinstance(group, str):
        return group
    if isinstance(group, Group):
        return group.key
    raise TypeError(f"group is a {type(group).__name__}; pass a weft.Group or its key")
