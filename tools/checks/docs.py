#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documents tell the truth: C++ and C snippets compile, shell snippets and links name things that
exist, and docs/environment.md has one row for each variable of src/base/env.inc."""

import os
import re
import subprocess
import sys

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"cpp": ["-x", "c++", "-std=c++20", "-Iinclude"],
             "c": ["-x", "c", "-std=c11", "-Wpedantic", "-Icann/include"]}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def documents():
    names = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True)
    for path in names.stdout.splitlines():
        with open(path, encoding="utf-8") as file:
            yield path, file.read()


def snippet_errors(path, text):
    for match in FENCE.finditer(text):
        if match.group(1) not in LANGUAGES:
            continue
        line = text.count("\n", 0, match.start()) + 2
        run = subprocess.run(
            [os.environ.get("CXX", "g++"), "-fsyntax-only", "-Wall", "-Wextra", *LANGUAGES[match.group(1)], "-"],
            input=f'#line {line} "{path}"\n{match.group(2)}', capture_output=True, text=True)
        if run.returncode or run.stderr:
            yield f"{path}:{line}: this snippet does not compile cleanly\n{run.stderr}"


def command_errors(path, text, verbs):
    for verb in re.findall(r"\./dev ([a-z]+)", text):
        if verb not in verbs:
            yield f"{path}: ./dev has no verb '{verb}'"


def anchor(heading):
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def link_errors(path, text):
    prose = FENCE.sub("", text)
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file_name = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        if not os.path.exists(file_name):
            yield f"{path}: links to {target}, which is not there"
        elif fragment:
            with open(file_name, encoding="utf-8") as file:
                headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read()), re.MULTILINE)
            if fragment not in map(anchor, headings):
                yield f"{path}: links to {target}, but {file_name} has no such heading"


def environment_errors():
    with open("src/base/env.inc", encoding="utf-8") as file:
        table = dict(re.findall(r'^WEFT_ENV\("(\w+)",\s*"([^"]*)"', file.read(), re.MULTILINE))
    with open("docs/environment.md", encoding="utf-8") as file:
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", file.read(), re.MULTILINE))
    for name in sorted(table.keys() - rows.keys()):
        yield f"docs/environment.md has no row for {name} of src/base/env.inc"
    for name in sorted(rows.keys() - table.keys()):
        yield f"docs/environment.md explains {name}, which is not in src/base/env.inc"
    for name in sorted(rows.keys() & table.keys()):
        if rows[name].strip("`") != (table[name] or "empty"):
            yield f"docs/environment.md: {name} defaults to {rows[name]}, env.inc says '{table[name]}'"


def main():
    with open("dev", encoding="utf-8") as file:
        verbs = set(re.findall(r"^  ([a-z]+)(?: \|[^)]*)?\)", file.read(), re.MULTILINE))
    errors = list(environment_errors())
    for path, text in documents():
        errors += [*snippet_errors(path, text), *command_errors(path, text, verbs), *link_errors(path, text)]
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
