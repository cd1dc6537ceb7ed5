# SPDX-License-Identifier: Apache-2.0
"""weft: fused compute + communication operators for large transformer models on CPUs.

Operands are numpy arrays or anything with DLPack (PyTorch's CPU tensors), used where they are. `weft.torch` has the same for
PyTorch programs: operators under `torch.ops.weft`, a process group, a pass for torch.compile.
"""

from importlib.metadata import version as _version

from weft.errors import Error, Mismatch, PeerLost, Timeout
from weft.group import Context, Group, set_default_context, unique_id
from weft.norm import add_rmsnorm

__version__ = _version("weft")

__all__ = [
    "Context",
    "Error",
    "Group",
    "Mismatch",
    "PeerLost",
    "Timeout",
    "add_rmsnorm",
    "set_default_context",
    "unique_id",
]
