# SPDX-License-Identifier: Apache-2.0
"""weft for PyTorch on CPUs: operators under torch.ops.weft, the process group "weft", a pass for torch.compile."""

import importlib

import torch

try:
    _torch = importlib.import_module("weft._torch")
except ModuleNotFoundError as error:
    raise ImportError("weft was installed without its part for PyTorch, because there was no PyTorch. Install weft again, "
                      "with the torch that it is for (pip install 'weft[torch]').") from error
except ImportError as error:
    raise ImportError(f"weft's part for PyTorch does not load into PyTorch {torch.__version__}: {error}. Install weft again "
                      "into this environment.") from error

if ".".join(torch.__version__.split(".")[:2]) != _torch.torch_version:
    raise ImportError(f"weft was built for PyTorch {_torch.torch_version}, but this is PyTorch {torch.__version__}. "
                      f"Install torch=={_torch.torch_version}.*, or install weft again into this environment.")

import weft_autoload  # noqa: E402
from weft.torch import fakes  # noqa: E402,F401  what the operators return, for torch.compile
from weft.torch.groups import group_key  # noqa: E402
from weft.torch.ops import (  # noqa: E402
    add_rmsnorm,
    matmul_allreduce,
    matmul_allreduce_add_rmsnorm,
    matmul_allreduce_add_rmsnorm_,
    matmul_reduce_scatter,
)

if "WEFT" not in torch.distributed.Backend._plugins:  # TORCH_DEVICE_BACKEND_AUTOLOAD=0
    weft_autoload.register()

__all__ = [
    "add_rmsnorm",
    "group_key",
    "matmul_allreduce",
    "matmul_allreduce_add_rmsnorm",
    "matmul_allreduce_add_rmsnorm_",
    "matmul_reduce_scatter",
]
