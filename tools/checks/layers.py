#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The layer rule: which folder may include which (ARCHITECTURE.md)."""

import re
import subprocess
import sys

# A folder may include itself, the public headers and what stands here. kernels (numbers) and comm
# (bytes) never meet below tile.
BELOW = {
    "base": [],
    "kernels": ["base"],
    "comm": ["base"],
    "tile": ["base", "kernels", "comm"],
    "ops": ["base", "kernels", "comm", "tile"],
}
# Kernel families that may use another: gemm restores quantised weights while it packs them,
# activation works on the vectors of rows, routing on those and with the exp of activation.
FAMILIES = {"gemm": ["rows"], "activation": ["rows"], "routing": ["rows", "activation"]}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)
FRONT_ENDS = ("cann", "python", "examples")
# Of the internals, cann uses base (environment, clocks, memory), comm (how ranks meet) and the
# contracts in ops, whose rules it gives CANN's codes and CANN's order. No kernels, no tiles.
FRONT_END_BELOW = {"cann": ["base", "comm", "ops"]}
# The folders of the command line tool.
TOOL = {"terminal": [], "files": []}
TOOL["operators"] = ["files"]
TOOL["jobs"] = ["operators", "files", "terminal"]
TOOL["commands"] = ["jobs", "operators", "files", "terminal"]
# The folders of python/src, with the libraries that belong to each: two faces of one runtime, which
# know nothing of each other.
PYTHON = {"runtime": ["runtime"]}
PYTHON["core"] = ["core", "runtime", "nanobind"]
PYTHON["pytorch"] = ["pytorch", "runtime", "torch", "ATen", "c10", "pybind11"]
# The folders of cann/include, which programs for CANN include by these names.
CANN = ("acl", "aclnn", "aclnnop", "hccl")


def tracked():
    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    return [n for n in names.splitlines() if n.endswith((".h", ".cc", ".inc"))]


def allowed(path, quote, header):
    """None, or why this file may not include this header."""
    top = path.split("/")
    layer = header.split("/")[0]
    if top[0] == "include":
        is_std = quote == "<" and "/" not in header and not header.endswith(".h")
        if not (header.startswith("weft/") or is_std):
            return "public headers include only weft/ and the standard library"
    elif top[0] == "src" and layer in BELOW:
        if layer == top[1] == "kernels":
            family, other = top[2], header.split("/")[1]
            if other != family and other not in FAMILIES.get(family, []):
                return f"the kernel family {family} may not use {other}"
        if layer != top[1] and layer not in BELOW[top[1]]:
            return f"{top[1]} may include only {', '.join([top[1], *BELOW[top[1]]])}"
    elif top[:2] == ["tools", "weft"] and layer in TOOL and top[2] in TOOL:
        if layer != top[2] and layer not in TOOL[top[2]]:
            return f"in the tool {top[2]} may include only {', '.join([top[2], *TOOL[top[2]]])}"
    elif top[:2] == ["cann", "include"]:
        if "/" in header and layer not in CANN:
            return f"CANN's headers include only {', '.join(CANN)} and the standard library"
    elif top[:2] == ["python", "src"]:
        known = PYTHON.get(top[2], [])
        if layer not in known and (layer in BELOW or any(layer in other for other in PYTHON.values())):
            return f"in the Python package {top[2]} may include only weft/ and {', '.join(known)}"
    elif top[0] == "src" and layer in ("tools", "tests", "bench", *FRONT_ENDS, *CANN):
        return "the library does not know its front ends"
    elif top[0] in FRONT_ENDS and layer in BELOW and layer not in FRONT_END_BELOW.get(top[0], []):
        return "front ends and examples use the public headers only" + (
            f", and {', '.join(FRONT_END_BELOW[top[0]])}" if top[0] in FRONT_END_BELOW else "")
    return None


def main():
    errors = []
    for path in tracked():
        if path.startswith("src/") and path.split("/")[1] not in BELOW:
            errors.append(f"{path}: no layer is called {path.split('/')[1]}")
            continue
        with open(path, encoding="utf-8") as file:
            text = file.read()
        test = re.search(r"(^|/|_)(test|bench)[^/]*\.cc$", path)
        for match in INCLUDE.finditer(text):
            why = None if test else allowed(path, *match.groups())
            if why:
                line = text.count("\n", 0, match.start(2)) + 1
                errors.append(f"{path}:{line}: includes {match.group(2)}: {why}")
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
