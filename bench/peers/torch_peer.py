# SPDX-License-Identifier: Apache-2.0
"""What the peers have in common: random data, and measuring cases one after the other within a budget of seconds.

Every figure is the median of --repeat calls, of fewer where these do not fit in the budget, or left out with the
reason. Gives one JSON object per line; progress and what was left out go to stderr.
"""

import json
import math
import os
import statistics
import sys
import time

import progress

BEGIN = time.monotonic()  # importing PyTorch is part of the budget
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402  (reads OMP_NUM_THREADS when imported)

PEER = f"torch {torch.__version__}"
FLOATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPES = [*FLOATS, "int8"]
PROBE_ROWS, PROBE_COLUMNS, PROBE_SECONDS = 16, 256, 0.3


def add_options(parser, budget):
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--budget", type=float, default=budget, metavar="SECONDS",
                        help=f"that all may take ({budget})")
    parser.add_argument("--long", dest="budget", action="store_const", const=math.inf,
                        help="all calls of everything, however long that takes")
    parser.set_defaults(begin=BEGIN)
    parser.add_argument("--json", metavar="FILE", help="write the lines to FILE instead of stdout")


def random_values(count, dtype, magnitude=1.0):
    """A million that repeat: making more takes longer than multiplying them."""
    size = min(count, 1_000_003)
    if dtype == "int8":
        block = torch.randint(-127, 128, (size,), dtype=torch.int8)
    else:
        block = (torch.randn(size) * magnitude).to(FLOATS.get(dtype, torch.float32))
    return block.repeat(-(-count // size))[:count]


def matrix(rows, columns, dtype, order="row-major"):
    if order == "transposed":
        return matrix(columns, rows, dtype).t()
    return random_values(rows * columns, dtype).view(rows, columns)


def multiply(dtype):
    return torch._int_mm if dtype == "int8" else torch.matmul


def one_core(index, ranks=1):
    """One thread, and where there are enough for all ranks, one core."""
    cores = sorted(os.sched_getaffinity(0))
    if ranks <= len(cores):
        os.sched_setaffinity(0, {cores[index]})
    torch.set_num_threads(1)


def duration(seconds):
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


class Skipped(Exception):
    """There is no time for a measurement; says why."""


class Runner:
    """Measures cases. A case has title, section, weight, steps, flops and line(); a peer says with expected() and
    call() what it takes and what it is."""

    def __init__(self, args):
        self.args = args
        self.row_seconds = {}  # of a product, by dtype, k, n, order

    def agreed(self, value):
        """With several ranks, the largest: what is decided with it is decided alike everywhere."""
        return value

    def begin_together(self):
        pass

    def expected(self, case):
        """Seconds that one call may take, about."""
        raise NotImplementedError

    def call(self, case):
        """A function without arguments."""
        raise NotImplementedError

    def line(self, case, **values):
        return case.line(**values)

    def passed(self):
        return self.agreed(time.monotonic() - self.args.begin)

    def product_seconds(self, m, k, n, dtype, order):
        """Of a product, which may be minutes: from some of its columns and as many of its rows as take long enough."""
        if m <= PROBE_ROWS:
            return 0
        key = dtype, k, n, order
        if key not in self.row_seconds:
            columns = min(n, PROBE_COLUMNS)
            x1, x2 = matrix(m, k, dtype), matrix(k, n, dtype, order)[:, :columns]
            rows, seconds = PROBE_ROWS // 4, 0
            while seconds < PROBE_SECONDS and rows < m:
                rows = min(4 * rows, m)
                begin = time.perf_counter()
                multiply(dtype)(x1[:rows], x2)
                seconds = time.perf_counter() - begin
            self.row_seconds[key] = self.agreed(seconds * n / columns / rows)
        return m * self.row_seconds[key]

    def measure(self, case, share):
        """The case's JSON line. Two calls come first: they allocate, choose kernels and fill caches."""
        full, begin = self.args.repeat + 2, self.passed()
        expected = self.expected(case) if share < math.inf else 0
        if 2 * expected > share:
            raise Skipped(f"one call would take about {duration(expected)}, the budget has {duration(share)} for it")
        call = self.call(case)
        seconds = [self.timed(call)]
        if 2 * seconds[0] > share:
            raise Skipped(f"one call took {duration(seconds[0])}, the budget had {duration(share)} for it")
        left = share - (self.passed() - begin)
        calls = full if left > full * seconds[0] else 1 + max(1, int(left / seconds[0]))
        seconds += [self.timed(call) for _ in range(calls - 1)]
        seconds = seconds[2 if calls == full else 1:]
        median = statistics.median(seconds) / case.steps
        speed = {"gflops_per_rank": 1e-9 * case.flops / median} if case.flops else {}
        return self.line(case, repeat=len(seconds), median_s=median, **speed)

    def measure_fastest(self, forms, share, name):
        """The line of the fastest of these cases, with the medians of the others by what the lines have as `name`."""
        begin, lines, why = self.passed(), [], None
        for i, form in enumerate(forms):
            left = share - (self.passed() - begin)
            try:
                lines.append(Runner.measure(self, form, left / (len(forms) - i)))
            except Skipped as skipped:
                why = why or skipped
        if not lines:
            raise why
        fastest, *slower = sorted(lines, key=lambda line: line["median_s"])
        return {**fastest, **{f"{line[name]}_median_s": line["median_s"] for line in slower}}

    def timed(self, call):
        self.begin_together()
        begin = time.perf_counter()
        call()
        return self.agreed(time.perf_counter() - begin)

    def measure_all(self, todo, report):
        """`report` is None where another rank has it."""
        rest = 0
        for i, case in enumerate(todo):
            left = self.args.budget - self.passed()
            if report:
                report.begin(case)
            try:
                if left <= 0:
                    rest += 1
                    raise Skipped("the budget was used up")
                part = case.weight / sum(other.weight for other in todo[i:])
                line = self.measure(case, left * min(1, 2 * part))  # twice its part, because many take less
            except Skipped as why:
                line = self.line(case, skipped=str(why))
                if report and left > 0:
                    report.note(f"{case.title}: skipped: {why}")
            if report:
                report.emit(case, line)
        if report:
            report.end(rest)


class Report:
    """The JSON lines, and how far it is on stderr. Only one rank has one."""

    def __init__(self, args, count, append=False, name="PyTorch", terminal=None):
        self.args, self.count, self.done, self.skipped = args, count, 0, 0
        self.progress = progress.Progress(name, args.begin, terminal=terminal)
        self.out = open(args.json, "a" if append else "w", encoding="utf-8") if args.json else sys.stdout

    def begin(self, case):
        self.progress.step(case.section, f"{self.done + 1} of {self.count}, {case.title}")

    def note(self, text):
        self.progress.note(text)

    def emit(self, case, line):
        self.done += 1
        print(json.dumps(line), file=self.out, flush=True)
        if "skipped" in line:
            self.skipped += 1
        elif line["repeat"] < self.args.repeat:
            one = duration(line["median_s"] * case.steps)
            self.note(f"{case.title}: median of {line['repeat']}, not {self.args.repeat}: one call takes {one}")

    def end(self, rest):
        if rest:
            self.note(f"the budget of {self.args.budget:.0f} s is used up: {rest} measurements skipped")
        measured = self.done - self.skipped
        skipped = f", {self.skipped} skipped (--long measures all)" if self.skipped else ""
        self.note(f"{self.progress.name}: {measured} measured{skipped}, {self.progress.passed():.0f} s")
        if self.args.json:
            self.out.close()
