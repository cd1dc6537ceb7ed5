# SPDX-License-Identifier: Apache-2.0
"""weft for PyTorch on CPUs: operators under torch.ops.weft, the process group "weft", a pass for torch.compile."""

import importlib

try:
    import torch
except ModuleNotFoundError as error:
    raise ImportError("weft.torch needs PyTorch, which is not installed (pip install 'weft[torch]').") from error

try:
    from weft.torch.built_for import TORCH_VERSION  # of torch.cmake
except ModuleNotFoundError as error:
    raise ImportError("weft was installed without its part for PyTorch, because there was no PyTorch then. "
                      "Install weft again (from its sources: pip install --force-reinstall --no-deps ./python).") from error

if ".".join(torch.__version__.split(".")[:2]) != TORCH_VERSION:
    raise ImportError(f"weft was built for PyTorch {TORCH_VERSION}, but this is PyTorch {torch.__version__}. "
                      f"Install torch=={TORCH_VERSION}.*, or a weft that was built for this PyTorch.")

try:
    _torch = importlib.import_module("weft._torch")  # registers the operators
except ImportError as error:
    raise ImportError(f"weft's part for PyTorch does not load into PyTorch {torch.__version__}: {error}. Install weft again "
                      "into this environment.") from error

import weft_autoload  # noqa: E402
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

if "WEFT" not in torch.distributed.Backend._plugins:  # TORCH_DEVICE_BACKEND_AUTOLOAD=0
    weft_autoload.register()

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
