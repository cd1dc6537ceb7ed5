# SPDX-License-Identifier: Apache-2.0
"""Every ```python block of the documents runs, each in a namespace of its own, those of a page in one process.

A block with `__main__` runs as a program of its own, because the processes that it starts import it. One whose first line is
`# not run: reason` must compile.
"""

import pathlib
import re
import sys

import pytest
from installed import ROOT, run

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"# not run: \S")
PAGES = [path for path in (ROOT / "README.md", ROOT / "docs/python.md", *sorted((ROOT / "docs/python").glob("*.md")))
         if FENCE.search(path.read_text())]
# Pages as arguments: runs their blocks; tracebacks name the page and its line.
RUNNER = """
import sys
from test_docs import blocks, is_program
for page in sys.argv[1:]:
    for line, code in blocks(page):
        if not is_program(code):
            exec(compile("\\n" * line + code, page, "exec"), {"__name__": f"line {line} of {page}"})
"""


def blocks(page):
    """(lines before it, code) of each block that runs."""
    text = pathlib.Path(page).read_text()
    for match in FENCE.finditer(text):
        if not NOT_RUN.match(match.group(1)):
            yield text.count("\n", 0, match.start(1)), match.group(1)


def is_program(code):
    return "__main__" in code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page, tmp_path):
    for match in FENCE.finditer(page.read_text()):
        compile(match.group(1), str(page), "exec")
    found = list(blocks(page))
    if any(not is_program(code) for _, code in found):
        run([sys.executable, "-c", RUNNER, page], PYTHONPATH=str(pathlib.Path(__file__).parent))
    for line, code in found:
        if is_program(code):
            program = tmp_path / f"line_{line}.py"
            program.write_text("\n" * line + code)
            run([sys.executable, program])
