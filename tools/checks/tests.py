#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every test file is built, every ctest has a label, every label is one that CONTRIBUTING.md explains.

usage: tests.py BUILD
"""

import json
import os
import re
import shutil
import subprocess
import sys

TEST_FILE = re.compile(r"(^|/)(test[^/]*|[^/]*_test)\.cc$")


def unbuilt_test_files(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        built = {os.path.relpath(command["file"]) for command in json.load(file)}
    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    for path in filter(TEST_FILE.search, names.splitlines()):
        if path not in built:
            yield f"{path}: no target builds it, so nothing runs it"


def explained_labels():
    """A pattern: the labels in the table of CONTRIBUTING.md, with N for any number."""
    with open("CONTRIBUTING.md", encoding="utf-8") as file:
        rows = re.findall(r"^\| `([\w:-]+)` \|", file.read(), re.MULTILINE)
    return re.compile("|".join(row.replace(":N", r":\d+") for row in rows))


def label_errors(build):
    ctest = "/usr/bin/ctest" if os.path.exists("/usr/bin/ctest") else shutil.which("ctest")
    show = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"],
                          capture_output=True, text=True, check=True)
    tests = json.loads(show.stdout)["tests"]
    if not tests:
        yield f"{build} has no tests"
    explained = explained_labels()
    for test in tests:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        labels = properties.get("LABELS", [])
        if not labels:
            yield f"test {test['name']} has no label"
        for label in labels:
            if not explained.fullmatch(label):
                yield f"test {test['name']}: label '{label}' is not in the table of CONTRIBUTING.md"


def main():
    errors = [*unbuilt_test_files(sys.argv[1]), *label_errors(sys.argv[1])]
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
