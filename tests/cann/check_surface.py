#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the C interface shows: headers, library and document say the same.

usage: check_surface.py headers INCLUDE            each header alone, C11 and C++14, every compiler here
       check_surface.py numbers INCLUDE ABI_INC    every enumerator and number of the headers is pinned
       check_surface.py symbols INCLUDE LIBRARY    the library exports the functions of the headers
       check_surface.py document INCLUDE DOCUMENT  the document's tables have a row for each function
       --pending FOLDER                            a folder of headers whose functions are not there yet
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys

FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
COMPILERS = ["gcc", "clang", "clang-14", "clang-19"]


def headers_of(include):
    return sorted(os.path.relpath(path, include) for path in
                  glob.glob(os.path.join(include, "**", "*.h"), recursive=True))


def code_of(include, header):
    with open(os.path.join(include, header), encoding="utf-8") as file:
        return re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read(), flags=re.DOTALL)


def functions_of(include, pending):
    """Name to header. Declarations begin with the mark of what the library shows."""
    found = {}
    for header in headers_of(include):
        if header.split("/")[0] in pending:
            continue
        for name in re.findall(r"^(?:ACL_FUNC_VISIBILITY|ACLNN_API)\s[^;(]*?(\w+)\(", code_of(include, header),
                               re.MULTILINE):
            found[name] = header
    return found


def check_headers(include, _):
    folders = [f"-I{include}", f"-I{include}/aclnnop"]
    for compiler in filter(shutil.which, COMPILERS):
        for header in headers_of(include):
            for language, standard in (("c", "c11"), ("c++", "c++14")):
                source = f'#include "{header}"\nextern int weft_declaration;\n'
                run = subprocess.run([compiler, "-x", language, f"-std={standard}", *FLAGS, *folders, "-"],
                                     input=source, capture_output=True, text=True)
                if run.returncode:
                    yield f"{compiler} -std={standard}: {header}\n{run.stderr}"


def check_numbers(include, table):
    with open(table, encoding="utf-8") as file:
        pinned = re.findall(r"^WEFT_ABI\((\w+),", file.read(), re.MULTILINE)
    present = set()
    for header in headers_of(include):
        code = code_of(include, header)
        for body in re.findall(r"enum\s*\w*\s*\{(.*?)\}", code, re.DOTALL):
            present |= set(re.findall(r"\b([A-Z]\w+)\b", body))
        present |= set(re.findall(r"^#define (\w+) \(?-?[0-9]", code, re.MULTILINE))
    for name in sorted(present - set(pinned)):
        yield f"{name} is in the headers but not in {table}"
    for name in sorted(set(pinned) - present):
        yield f"{name} is in {table} but not in the headers"


def check_symbols(include, library, pending):
    listing = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
    exported = {line.split()[-1] for line in listing.stdout.splitlines()}
    declared = functions_of(include, pending).keys()
    for name in sorted(declared - exported):
        yield f"{name} is declared but {library} does not export it"
    for name in sorted(exported - declared):
        yield f"{library} exports {name}, which no header declares"


def check_document(include, document, pending):
    with open(document, encoding="utf-8") as file:
        rows = re.findall(r"^\| `(\w+)` \|", file.read(), re.MULTILINE)
    declared = functions_of(include, pending).keys()
    for name in sorted(declared - set(rows)):
        yield f"{document} has no row for {name}"
    for name in sorted(set(rows) - declared):
        yield f"{document} has a row for {name}, which no header declares"
    for name in sorted({name for name in rows if rows.count(name) > 1}):
        yield f"{document} has {rows.count(name)} rows for {name}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["headers", "numbers", "symbols", "document"])
    parser.add_argument("include")
    parser.add_argument("other", nargs="?")
    parser.add_argument("--pending", action="append", default=[])
    arguments = parser.parse_args()
    check = globals()["check_" + arguments.what]
    with_pending = arguments.what in ("symbols", "document")
    errors = list(check(arguments.include, arguments.other, *([arguments.pending] if with_pending else [])))
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
