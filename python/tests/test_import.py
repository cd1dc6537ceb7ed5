# SPDX-License-Identifier: Apache-2.0
"""What imports cost, and what they say about a PyTorch that weft was not built for.

Times are of this process on the CPU, which other programs disturb less than the clock on the wall; three times the limit
leaves room for slow machines.
"""

import json
import re
import statistics

import pytest
from installed import python

SLOW = 3

NUMPY_FACE = """
import json, sys, time
import numpy
before = time.process_time()
import weft
print(json.dumps([time.process_time() - before, "torch" in sys.modules]))
"""
# What `import torch` does at its end, done after it: so that its cost can be told from that of torch.
TORCH_FACE = """
import json, sys, time
from importlib.metadata import entry_points
import torch
before = time.process_time()
[entry] = [entry for entry in entry_points(group="torch.backends") if entry.name == "weft"]
entry.load()()
loaded = time.process_time()
import weft.torch
seconds = loaded - before, time.process_time() - loaded

del sys.modules["weft.torch"]
torch.__version__ = "1.2.3"
try:
    import weft.torch
except ImportError as error:
    print(json.dumps([*seconds, str(error)]))
"""


def test_import_of_weft_is_quick_and_loads_no_pytorch():
    seconds, torch_loaded = zip(*[json.loads(python(NUMPY_FACE)) for _ in range(5)])
    assert not any(torch_loaded)
    assert statistics.median(seconds) < SLOW * 0.15, seconds


def test_imports_beside_pytorch_are_quick_and_another_pytorch_is_refused():
    pytest.importorskip("torch")
    autoload, face, said = zip(*[json.loads(python(TORCH_FACE, TORCH_DEVICE_BACKEND_AUTOLOAD="0")) for _ in range(3)])
    assert statistics.median(autoload) < SLOW * 0.02, autoload
    assert statistics.median(face) < SLOW * 0.3, face
    assert re.match(r"weft was built for PyTorch 2\.\d+, but this is PyTorch 1\.2\.3\. Install torch==2\.", said[0]), said
