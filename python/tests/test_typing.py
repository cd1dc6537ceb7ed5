# SPDX-License-Identifier: Apache-2.0
"""What editors and type checkers see of the package: types, signatures, docstrings."""

import inspect
import re
import subprocess
import sys

import pytest

import weft

PROGRAM = """
import numpy as np

import weft


def rank_main(group: weft.Group) -> int:
    x = np.ones((2, 64), np.float32)
    y, rstd, total = weft.add_rmsnorm(x, x, x[0], epsilon=1e-5, context=weft.Context(threads=1))
    try:
        group.barrier(timeout=1.5)
    except weft.PeerLost as error:
        print(group.name.upper(), error)
    return group.rank + group.ranks


print([rank_main(group) for group in weft.Group.local(RANKS)])
"""
FUNCTIONS = {name: value for name, value in vars(weft).items() if name in weft.__all__ and inspect.isfunction(value)}
PUBLIC = sorted(set(weft.__all__))


def mypy(folder, ranks):
    program = folder / "program.py"
    program.write_text(PROGRAM.replace("RANKS", ranks))
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache", program],
                          cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_program_passes_mypy_strict_and_a_wrong_one_does_not(tmp_path):
    pytest.importorskip("mypy")
    assert mypy(tmp_path, "2") == (0, "Success: no issues found in 1 source file\n")
    code, said = mypy(tmp_path, "'two'")
    assert code == 1
    assert 'Argument 1 to "local" of "Group" has incompatible type "str"; expected "int"' in said


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_explain_themselves(name):
    value = getattr(weft, name)
    doc = inspect.getdoc(value)
    assert doc and not doc.startswith(f"{name}(")  # what NamedTuple would write
    if name in FUNCTIONS:
        signature = inspect.signature(value)
        untyped = [each.name for each in signature.parameters.values() if each.annotation is inspect.Parameter.empty]
        assert untyped == [] and signature.return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "out" in inspect.signature(FUNCTIONS[name]).parameters])
def test_functions_with_results_say_their_errors(name):
    function = FUNCTIONS[name]
    docs = inspect.getdoc(function), inspect.getdoc(inspect.getmodule(function))
    others = [other for other in FUNCTIONS if other != name and re.search(rf"\b{other}\b", docs[0])]
    assert others or any("Errors:" in doc for doc in docs)  # its own, those of its family, or of what it refers to
