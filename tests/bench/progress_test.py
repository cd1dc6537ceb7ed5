#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The line that bench/peers/progress.py draws."""

import io
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/peers"))
from progress import Progress  # noqa: E402


class ProgressTest(unittest.TestCase):
    def run_two_parts(self, terminal):
        stream = io.StringIO()
        progress = Progress("peer", begin=time.monotonic() - 7, stream=stream, terminal=terminal)
        progress.step("first", "1 of 3")
        progress.step("first", "2 of 3")
        progress.note("left out: x")
        progress.step("second", "3 of 3")
        progress.clear()
        progress.clear()
        return stream.getvalue()

    def test_it_overwrites_itself_on_a_terminal(self):
        wipe = "\r\x1b[K"
        self.assertEqual(self.run_two_parts(True),
                         f"{wipe}peer: 1 of 3, 7 s{wipe}peer: 2 of 3, 7 s{wipe}left out: x\n{wipe}peer: 3 of 3, 7 s{wipe}")

    def test_it_is_a_line_for_each_part_elsewhere(self):
        self.assertEqual(self.run_two_parts(False), "peer: first\nleft out: x\npeer: second\n")

    def test_a_stream_that_is_no_terminal_says_so(self):
        self.assertFalse(Progress("peer", stream=io.StringIO()).terminal)


if __name__ == "__main__":
    unittest.main()
