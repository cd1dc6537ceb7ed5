#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each source file names its licence; nothing unfinished, generated, binary or machine-specific is tracked."""

import os
import re
import subprocess
import sys

SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCE = re.compile(r"(\.(h|cc|inc|py|pyi|toml|sh|cmake)|/?CMakeLists\.txt|\.cmake\.in|^dev|^\.ci/run)$")
# In two pieces, so that this file passes its own check.
FORBIDDEN = [
    ("TO" + r"DO\b", "unfinished work is finished or left out"),
    ("FIX" + r"ME\b|\bXX" + r"X\b", "unfinished work is finished or left out"),
    (r"^\s*#\s*if\s+0\b", "no dead code"),
    (r"(?<![\w.])/(home|root|work)/\w", "a path of one machine"),
]
BINARY_SUFFIXES = (".a", ".o", ".so", ".npy", ".pyc", ".png", ".jpg", ".pdf", ".zip", ".gz", ".whl")
MAX_BYTES = 400_000


def errors_of(path):
    if path.endswith(BINARY_SUFFIXES) or path.startswith("build/"):
        yield f"{path}: built or binary files are not tracked"
        return
    with open(path, "rb") as file:
        content = file.read()
    if len(content) > MAX_BYTES:
        yield f"{path}: {len(content)} bytes; at most {MAX_BYTES}"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield f"{path}: not a text file"
        return
    if SOURCE.search(path) and SPDX not in text[:300]:
        yield f"{path}: its first lines do not say {SPDX}"
    if text and not text.endswith("\n"):
        yield f"{path}: no newline at the end"
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, why in FORBIDDEN:
            if re.search(pattern, line):
                yield f"{path}:{number}: {why}: {line.strip()}"
        if line != line.rstrip() and not path.endswith(".md"):
            yield f"{path}:{number}: space at the end of the line"


def changelog_errors():
    with open("CHANGELOG.md", encoding="utf-8") as file:
        unreleased = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", file.read(), re.MULTILINE | re.DOTALL)
    if not unreleased or not re.search(r"^- ", unreleased.group(1), re.MULTILINE):
        yield "CHANGELOG.md: nothing under '## Unreleased'"


def main():
    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    errors = list(changelog_errors())
    for path in names.splitlines():
        if os.path.isfile(path):
            errors += errors_of(path)
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
