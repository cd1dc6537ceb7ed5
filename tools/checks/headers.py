#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No header is heavy: what it brings into every file that includes it, preprocessed, stays below a limit.

A file of ours takes as long to compile as what it includes is large: 2 MB are about a second on a slow core. The limits
leave a little room above the largest header of a folder, as GCC 12 preprocesses it. CLI11 has 2.9 MB, nlohmann's JSON 3.5,
GoogleTest 2.4, <regex> 1.8, <functional> (weft/group.h has it) 1.0, fmt/format.h 1.7, fmt/core.h 0.9, <string> 0.65. A header that needs more can name a type
without its definition and leave the include to its .cc file, as terminal/command_line.h and files/json.h do.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

# The first that fits counts. Kilobytes.
LIMITS = [
    (re.compile(r"^tests/|/test_\w+\.h$"), 3400, "test support (GoogleTest is in it)"),
    (re.compile(r"^include/"), 1750, "the public headers"),
    (re.compile(r"^cann/include/"), 1400, "CANN's headers"),
    (re.compile(r"^src/kernels/"), 2300, "kernels (1.3 MB of intrinsics)"),
    (re.compile(r"^src/"), 2250, "internal headers"),
    (re.compile(r"^(cann/src|bench)/"), 2500, "headers of front ends and benchmarks"),
    (re.compile(r"^tools/"), 2350, "headers of the tool"),
    (re.compile(r"^examples/"), 2300, "examples"),
    (re.compile(r"^python/src/runtime/"), 2100, "the runtime of the Python package"),
]
# The faces of the Python package include nanobind and PyTorch, which are large and in no system folder.
NOT_LIMITED = re.compile(r"^python/src/(core|pytorch)/")
FOLDERS = ["include", "src", "cann/include", "cann/src", "tools/weft", "bench", "tests/comm", "tests/ops", "tests/cann",
           "python/src"]


def preprocess(path):
    command = [os.environ.get("CXX", "g++"), "-std=c++20", "-E", "-P", "-x", "c++", *("-I" + f for f in FOLDERS), path]
    return subprocess.run(command, capture_output=True, text=True)


def limit_of(path):
    return next((limit, what) for pattern, limit, what in LIMITS if pattern.search(path))


def included(path):
    """The headers of ours that it names itself, as far as their ends tell."""
    with open(path, encoding="utf-8") as file:
        return re.findall(r'^#include "([^"]+)"', file.read(), re.MULTILINE)


def check(names):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(zip(names, pool.map(preprocess, names)))
    heavy = {}
    for path, result in results.items():
        if result.returncode:
            yield f"{path}: cannot be preprocessed alone\n{result.stderr}"
        elif len(result.stdout) > 1000 * limit_of(path)[0]:
            heavy[path] = len(result.stdout) // 1000
    # Of those that include each other only the cause is named.
    for path, size in heavy.items():
        if not any(other.endswith("/" + name) for name in included(path) for other in heavy if other != path):
            limit, what = limit_of(path)
            yield f"{path}: {size} KB with all it includes; the limit of {what} is {limit} KB"


def main():
    names = subprocess.run(["git", "ls-files", "*.h"], capture_output=True, text=True, check=True).stdout.splitlines()
    errors = list(check([name for name in names if not NOT_LIMITED.search(name)]))
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
