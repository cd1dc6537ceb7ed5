# SPDX-License-Identifier: Apache-2.0
"""The wheel and the source distribution, as users get them."""

import importlib.metadata
import re
import tarfile
import zipfile

import pytest
from installed import BUILD, ROOT, Environment, python, run

import weft

NUMPY = ("numpy", "numpy.libs")
FIRST_CALL = """
import numpy as np, weft
y, rstd, x = weft.add_rmsnorm(*np.ones((2, 3, 64), np.float32), np.ones(64, np.float32))
assert (x == 2).all() and abs(y - 1).max() < 1e-6, (x, y)
print(weft.__version__, weft.__file__)
"""


@pytest.fixture(scope="module")
def wheel():
    wheels = sorted((BUILD / "wheelhouse").glob("weft-*.whl"))
    if not wheels:
        pytest.skip("no wheel in build/python/wheelhouse; ./dev test python makes it")
    assert len(wheels) == 1, wheels
    return wheels[0]


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """An environment with numpy, the wheel and nothing else: no PyTorch."""
    environment = Environment(tmp_path_factory.mktemp("fresh"), NUMPY)
    environment.install(wheel)
    return environment


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    python(f"import os; os.chdir({str(ROOT / 'python')!r})\n"
           f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})")
    return folder / f"weft-{weft.__version__}.tar.gz"


def test_fresh_environment_computes(fresh):
    version, path = python(FIRST_CALL, fresh.python).split()
    assert version == weft.__version__
    assert path.startswith(str(fresh.packages))


def test_fresh_environment_has_the_tool(fresh):
    for command in ([fresh.bin / "weft"], [fresh.python, "-m", "weft"]):
        assert "instruction set" in run([*command, "info"])


@pytest.mark.parametrize("name", ["bin/weft", "libweft_python.so"])
def test_libraries_come_from_the_wheel(fresh, name):
    found = dict(re.findall(r"(lib\w+)\S* => (\S+)", run(["ldd", fresh.packages / "weft" / name])))
    for library in ("libfmt", "libhwloc"):
        assert found[library].startswith(str(fresh.packages)), found


def test_without_pytorch_weft_torch_says_what_to_install(fresh):
    code = "try:\n import weft.torch\nexcept ImportError as error: print(error)"
    assert re.search(r"weft\.torch needs PyTorch.*pip install", python(code, fresh.python))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    expected = {"weft/py.typed", "weft/_core.pyi", "weft/bin/weft", "weft/libweft_python.so", "weft_autoload.py"}
    expected |= {f"weft/{path.relative_to(ROOT / 'python' / 'weft')}" for path in (ROOT / "python/weft").rglob("*.py")}
    assert expected <= names
    allowed = re.compile(r"weft/[\w/]+\.py|weft/_\w+\.cpython-\w+-x86_64-linux-gnu\.so|weft\.libs/lib\w+-\w+\.so[.\d]*"
                         r"|weft-[\d.]+\.dist-info/.*")
    assert [name for name in names - expected if not allowed.fullmatch(name)] == []
    assert "manylinux" in wheel.name
    assert wheel.stat().st_size < 12e6


def test_metadata(wheel):
    project = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(weft VERSION ([\d.]+)", project).group(1)
    assert importlib.metadata.version("weft") == weft.__version__ == version
    metadata = importlib.metadata.metadata("weft")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    required = importlib.metadata.requires("weft")
    assert [line for line in required if "extra" not in line] == ["numpy>=1.24"]
    assert any(line.startswith("torch") and 'extra == "torch"' in line for line in required)
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_sdist_holds_the_sources_of_the_library(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "CMakeLists.txt", "LICENSE", "weft/py.typed", "src/core/module.cc", "library/CMakeLists.txt",
            "library/include/weft/group.h", "library/src/comm/group.cc", "library/tools/weft/main.cc"} <= names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"CMakeLists.txt", "LICENSE", "PKG-INFO", "README.md", "cmake", "library", "pyproject.toml", "src",
                    "weft", "weft_autoload.py"}
    assert sdist.stat().st_size < 2e6


@pytest.mark.slow
def test_sdist_builds_without_pytorch(sdist, tmp_path):
    environment = Environment(tmp_path / "fresh", NUMPY)
    environment.install(sdist, timeout=3600, CMAKE_PREFIX_PATH="")
    python(FIRST_CALL, environment.python)
    assert "Install weft again" in python("try:\n import weft.torch\nexcept ImportError as error: print(error)",
                                          environment.python)


@pytest.mark.slow
def test_isolated_build_finds_the_pytorch_of_the_environment(tmp_path):
    pytest.importorskip("torch")
    environment = Environment(tmp_path / "fresh", (*NUMPY, "torch"))
    environment.install(ROOT / "python", timeout=3600, CMAKE_PREFIX_PATH=str(BUILD / "prefix"))
    assert list(environment.packages.glob("weft/_torch.*.so"))
