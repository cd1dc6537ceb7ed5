# SPDX-License-Identifier: Apache-2.0
"""The package as its users get it: where it was built, and environments to try it in."""

import os
import pathlib
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "python"


def run(command, timeout=120, **environment):
    """The output of a command that must succeed, run where no source of weft can be imported by accident."""
    done = subprocess.run([str(word) for word in command], cwd="/", capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment})
    assert done.returncode == 0, f"{command} exited with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def python(code, interpreter=sys.executable, **environment):
    return run([interpreter, "-c", code], **environment)


class Environment:
    """A fresh virtual environment that sees nothing of this one but the named packages."""

    def __init__(self, folder, packages):
        run([sys.executable, "-m", "venv", "--without-pip", folder])
        self.bin = pathlib.Path(folder) / "bin"
        self.python = self.bin / "python"
        here = pathlib.Path(sysconfig.get_path("platlib"))
        self.packages = pathlib.Path(python("import sysconfig; print(sysconfig.get_path('platlib'))", self.python).strip())
        for name in packages:
            (self.packages / name).symlink_to(here / name)

    def install(self, what, timeout=120, **environment):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python]
        run([*pip, "install", "--no-deps", what], timeout, **environment)
