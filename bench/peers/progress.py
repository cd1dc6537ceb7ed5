# SPDX-License-Identifier: Apache-2.0
"""How far a long run is: what tools/weft/terminal/progress.h is for programs in C++."""

import sys
import time


class Progress:
    """One line on stderr that overwrites itself. Without a terminal there is a line for each part instead."""

    def __init__(self, name, begin=None, stream=sys.stderr, terminal=None):
        """`terminal`: whether the stream ends at one, where the stream itself cannot know."""
        self.name, self.stream = name, stream
        self.terminal = stream.isatty() if terminal is None else terminal
        self.begin = time.monotonic() if begin is None else begin
        self.part, self.drawn = None, False

    def step(self, part, text):
        if self.terminal:
            self.write(f"\r\x1b[K{self.name}: {text}, {self.passed():.0f} s", end="")
            self.drawn = True
        elif part != self.part:
            self.write(f"{self.name}: {part}")
        self.part = part

    def note(self, text):
        """A line that stays."""
        self.clear()
        self.write(text)

    def clear(self):
        if self.drawn:
            self.write("\r\x1b[K", end="")
        self.drawn = False

    def passed(self):
        return time.monotonic() - self.begin

    def write(self, text, end="\n"):
        print(text, end=end, file=self.stream, flush=True)
