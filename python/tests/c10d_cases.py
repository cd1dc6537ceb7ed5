# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own cases for backends of torch.distributed, as far as an installed PyTorch has them, on the backend weft.

    python tests/c10d_cases.py weft|gloo|mpi [-k PATTERN ...]

Three ranks, forked; the rest is as unittest takes it. The first word chooses the cases: those that PyTorch has for any
backend, or for that one.
"""

import os
import sys
import tempfile

os.environ.update(BACKEND=sys.argv.pop(1), WORLD_SIZE="3")
os.environ.setdefault("TEMP_DIR", tempfile.mkdtemp())

import torch  # noqa: E402
from torch.testing._internal.common_utils import run_tests  # noqa: E402
from torch.testing._internal.distributed import distributed_test  # noqa: E402

torch.set_num_threads(1)
distributed_test.BACKEND = "weft"  # what decides about skipping has been asked by now


class WeftCases(distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase):
    def setUp(self):
        super().setUp()
        self._start_processes(torch.multiprocessing.get_context("fork").Process)  # spawning takes seconds


if __name__ == "__main__":
    run_tests()
