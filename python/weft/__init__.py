# SPDX-License-Identifier: Apache-2.0
"""weft: fused compute + communication operators for large transformer models on CPUs.

Operands are numpy arrays or anything with DLPack (PyTorch's CPU tensors), used where they are. `weft.torch` has the same for
PyTorch programs: operators under `torch.ops.weft`, a process group, a pass for torch.compile.
"""

from importlib.metadata import version as _version

from weft.collectives import (
    Recv,
    Send,
    allgather,
    allgatherv,
    allreduce,
    alltoall,
    alltoallv,
    batch_send_recv,
    broadcast,
    recv,
    reduce,
    reduce_scatter,
    reduce_scatterv,
    scatter,
    send,
)
from weft.errors import Error, Mismatch, PeerLost, Timeout
from weft.feed_forward import Ffn, ffn
from weft.group import Context, Group, MemoryUse, set_default_context, unique_id
from weft.matmul import (
    MatmulAllReduce,
    MatmulAllReduceAddRmsNorm,
    MatmulReduceScatter,
    matmul_allreduce,
    matmul_allreduce_add_rmsnorm,
    matmul_allreduce_add_rmsnorm_,
    matmul_reduce_scatter,
)
from weft.moe import (
    Dispatched,
    MoeCombine,
    MoeCombineAddRmsNorm,
    MoeDispatch,
    MoeDispatchCounts,
    MoeExperts,
    moe_combine,
    moe_combine_add_rmsnorm,
    moe_dispatch,
)
from weft.norm import AddRmsNorm, add_rmsnorm
from weft.planned import Planned
from weft.routing import (
    MoeFinalizeRouting,
    MoeGatingTopkSoftmax,
    MoeInitRouting,
    moe_finalize_routing,
    moe_gating_topk_softmax,
    moe_init_routing,
)
from weft.weights import (
    FractalNz,
    PackedWeight,
    calculate_matmul_weight_size,
    pack_fractal_nz,
    trans_quant_param,
    unpack_fractal_nz,
)

__version__ = _version("weft")

__all__ = [
    "AddRmsNorm",
    "Context",
    "Dispatched",
    "Error",
    "Ffn",
    "FractalNz",
    "Group",
    "MatmulAllReduce",
    "MatmulAllReduceAddRmsNorm",
    "MatmulReduceScatter",
    "MemoryUse",
    "Mismatch",
    "MoeCombine",
    "MoeCombineAddRmsNorm",
    "MoeDispatch",
    "MoeDispatchCounts",
    "MoeExperts",
    "MoeFinalizeRouting",
    "MoeGatingTopkSoftmax",
    "MoeInitRouting",
    "PackedWeight",
    "PeerLost",
    "Planned",
    "Recv",
    "Send",
    "Timeout",
    "add_rmsnorm",
    "allgather",
    "allgatherv",
    "allreduce",
    "alltoall",
    "alltoallv",
    "batch_send_recv",
    "broadcast",
    "calculate_matmul_weight_size",
    "ffn",
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
    "pack_fractal_nz",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatterv",
    "scatter",
    "send",
    "set_default_context",
    "trans_quant_param",
    "unique_id",
    "unpack_fractal_nz",
]
