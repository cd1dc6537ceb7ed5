#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Objects compiled for one instruction set define no weak symbols.

An inline function or template instance is weak: the linker keeps any one copy for the whole program,
perhaps the one compiled for AVX-512, and a CPU without it then dies in code that asked for nothing.

usage: symbols.py BUILD
"""

import glob
import os
import re
import subprocess
import sys

ISA_SOURCE = re.compile(r"^src/kernels/[^/]+/(x86_\w+|scalar)\.cc$")


def main():
    build = sys.argv[1]
    names = subprocess.run(["git", "ls-files", "src/kernels"], capture_output=True, text=True, check=True)
    errors = []
    for source in filter(ISA_SOURCE.match, names.stdout.splitlines()):
        objects = glob.glob(os.path.join(build, "CMakeFiles/weft_internal.dir", source + ".o"))
        if not objects:
            errors.append(f"{source}: not compiled in {build}")
            continue
        listing = subprocess.run(["nm", "-C", objects[0]], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            symbol = re.match(r"^[0-9a-f]+ ([WVu]) (.*)$", line)
            if symbol:
                errors.append(f"{source}: weak symbol: {symbol.group(2)}")
    print("\n".join(errors), end="\n" if errors else "")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
