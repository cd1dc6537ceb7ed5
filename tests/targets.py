#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a selection of tests needs to have built: targets, one a line; "all" if one of them needs everything.

usage: targets.py CTEST BUILD [ctest's options that select tests]
"""

import json
import os
import subprocess
import sys


def main():
    ctest, build, *selection = sys.argv[1:]
    shown = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1", *selection],
                           capture_output=True, text=True, check=True)
    targets = set()
    for test in json.loads(shown.stdout)["tests"]:
        labels = {p["name"]: p["value"] for p in test.get("properties", [])}.get("LABELS", [])
        if "install" in labels:
            targets.add("all")
        # A test's program, or what it is about, by its path in the build.
        paths = [os.path.relpath(word, build) for word in test["command"] if os.path.isabs(word)]
        targets.update(path for path in paths if path[0] != "." and ("." not in path or ".so" in path))
    for target in ["all"] if "all" in targets else sorted(targets):
        print(target)


if __name__ == "__main__":
    main()
