# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/python, with tiny models, and the first program of the README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def output(*command):
    """Of a Python program that must end well."""
    run = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=240, cwd=ROOT,
                         env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def check(text, *names):
    """The rows of the tables have these names in the first column, and in the last one errors within their bounds."""
    rows = re.findall(r"^(\w[\w, ]*?) {2,}.* ([\d.]+)$", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(names), text
    assert all(0 < float(error) <= 1 for _, error in rows), text


def test_llama_tp():
    pytest.importorskip("transformers")
    text = output(ROOT / "examples/python/llama_tp.py", "--tiny", "--compiler", "eager")
    check(text, "gloo", "weft", "gloo, compiled", "weft, compiled and fused")
    assert "weft replaced 4 of 6 sums over ranks in 2 graphs" in text  # all but those of the embedding


def test_moe_ep():
    pytest.importorskip("torch")
    check(output(ROOT / "examples/python/moe_ep.py", "--tiny"), *["torch and gloo", "weft"] * 2)


def test_first_program_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program = re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL).group(1)
    ranks = sorted(output("-c", program).splitlines())
    assert [line[:7] for line in ranks] == ["rank 0:", "rank 1:"]
    assert ranks[0][7:] == ranks[1][7:]
