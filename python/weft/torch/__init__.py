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

from weft.torch import autograd, fakes  # noqa: E402,F401  the operators' gradients, and what they return when traced
from weft.torch.groups import group_key  # noqa: E402
from weft.torch.moe import (  # noqa: E402
    Dispatched,
    moe_combine,
    moe_combine_add_rmsnorm,
    moe_dispatch,
    moe_finalize_routing,
    moe_gating_topk_softmax,
    moe_init_routing,
)
from weft.torch.ops import (  # noqa: E402
    add_rmsnorm,
    all_gather,
    ffn,
    matmul_allreduce,
    matmul_allreduce_add_rmsnorm,
    matmul_allreduce_add_rmsnorm_,
    matmul_reduce_scatter,
    reduce_scatter,
)
from weft.torch.packed import PackedWeight  # noqa: E402

__all__ = [
    "Dispatched",
    "PackedWeight",
    "add_rmsnorm",
    "all_gather",
    "ffn",
    "group_key",
    "matmul_allreduce",
    "matmul_allreduce_add_rmsnorm",
    "matmul_allreduce_add_rmsnorm_",
    "matmul_reduce_scatter",
    "moe_combine",
    "moe_combine_add_rmsnorm",
    "moe_dispatch",
    "moe_finalize_routing",
    "moe_gating_topk_softmax",
    "moe_init_routing",
    "reduce_scatter",
]
