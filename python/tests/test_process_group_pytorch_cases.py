# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own cases for backends, run by c10d_cases.py."""

import os
import re
import subprocess
import sys

import pytest


def run_cases(imitated, *patterns):
    """How many passed. Of those of another backend only what the patterns name: many are for what it alone has."""
    options = [option for pattern in patterns for option in ("-k", pattern)]
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "c10d_cases.py"), imitated, *options],
                          text=True, capture_output=True, timeout=900)
    ran, skipped = (re.search(pattern, done.stderr) for pattern in (r"Ran (\d+) tests", r"skipped=(\d+)"))
    failed = re.findall(r"^(?:ERROR|FAIL): (\w+)", done.stderr, re.MULTILINE)
    return failed, int(ran[1]) - (int(skipped[1]) if skipped else 0) - len(failed), done.stderr[-3000:]


@pytest.mark.slow
def test_cases_for_any_backend():
    failed, passed, text = run_cases("weft")
    # PyTorch's DDP logger calls every backend that it does not bring along "custom".
    assert failed == ["test_ddp_logging_data_cpu"] and passed >= 64, (failed, passed, text)


@pytest.mark.slow
def test_all_to_all_cases_of_mpi():
    failed, passed, text = run_cases("mpi", "all_to_all")
    assert not failed and passed >= 12, (failed, passed, text)
