# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own cases for backends of torch.distributed, as far as an installed PyTorch has them, on the backend weft.

    python tests/c10d_cases.py [-k PATTERN ...]     as unittest takes it; three ranks, forked
"""

import os
import tempfile

os.environ.update(BACKEND="weft", WORLD_SIZE="3")
os.environ.setdefault("TEMP_DIR", tempfile.mkdtemp())

import torch  # noqa: E402
from torch.testing._internal.common_utils import run_tests  # noqa: E402
from torch.testing._internal.distributed import distributed_test  # noqa: E402

torch.set_num_threads(1)


class WeftCases(distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase):
    def setUp(self):
        super().setUp()
        self._start_processes(torch.multiprocessing.get_context("fork").Process)  # spawning takes seconds


if __name__ == "__main__":
    run_tests()
