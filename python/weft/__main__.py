# SPDX-License-Identifier: Apache-2.0
"""The command line tool, which comes along in the package: `weft info`, or `python -m weft info`."""

import os
import sys


def main() -> None:
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "weft")
    os.execv(tool, [tool, *sys.argv[1:]])


if __name__ == "__main__":
    main()
