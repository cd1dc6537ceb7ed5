#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two builds of weft_bench, measured in turn: base, this, this, base, ...

Every run is a short process of its own, so that both see the same hours of a shared machine and no process's luck with
memory decides. The ratio of a pair of neighbours is base / this: above 1 this one is faster. A measurement is marked
if the middle half of its ratios lies on one side of 1 and further away than a build differs from itself between two
of its runs. What only one of both has, or too few pairs, is named below the table.
"""

import argparse
import dataclasses
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile

from peers.progress import Progress

FEWEST_PAIRS = 4  # of which quartiles say something


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    base_s: float
    this_s: float
    ratio: float  # base / this, the median of all pairs
    low: float  # quartiles
    high: float
    noise: float  # what a build differs from itself between two runs, as a share

    @property
    def mark(self):
        if self.low > 1 + self.noise:
            return "faster"
        return "SLOWER" if self.high < 1 - self.noise else ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    rows: list
    only_base: list
    only_this: list
    too_few: list


def changes(seconds):
    """From each run of a build to its next, as shares."""
    return [abs(math.log(after / before)) for before, after in itertools.pairwise(seconds)]


def row(name, pairs):
    base, this = zip(*pairs)
    low, ratio, high = statistics.quantiles([b / t for b, t in pairs], method="inclusive")
    noise = statistics.median(changes(base) + changes(this))
    return Row(name, statistics.median(base), statistics.median(this), ratio, low, high, noise)


def compare(pairs):
    """`pairs`: for each pair of neighbours the medians of base and of this, by name."""
    of_base = {name for base, _ in pairs for name in base}
    of_this = {name for _, this in pairs for name in this}
    rows, too_few = [], []
    for name in sorted(of_base & of_this):
        both = [(base[name], this[name]) for base, this in pairs if name in base and name in this]
        if len(both) >= FEWEST_PAIRS:
            rows.append(row(name, both))
        else:
            too_few.append(name)
    return Comparison(rows, sorted(of_base - of_this), sorted(of_this - of_base), too_few)


def duration(seconds):
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.2f} us"


def text(comparison, base_name):
    """The table: a line for each measurement, then those that are not in it."""
    lines = []
    width = max((len(r.name) for r in comparison.rows), default=0)
    for r in comparison.rows:
        lines.append(f"{r.name:{width}}  {duration(r.base_s):>10} -> {duration(r.this_s):>10}  {r.ratio:5.3f} x"
                     f"  ({r.low:.3f} to {r.high:.3f}, noise {r.noise:.3f})  {r.mark}".rstrip())
    faster = sum(r.mark == "faster" for r in comparison.rows)
    slower = sum(r.mark == "SLOWER" for r in comparison.rows)
    lines.append(f"{len(comparison.rows)} measurements: {faster} faster, {slower} slower than {base_name}; "
                 "medians of all pairs (quartiles, and what a build differs from itself)")
    for what, names in ((f"only {base_name} has", comparison.only_base), ("only this build has", comparison.only_this),
                        (f"fewer than {FEWEST_PAIRS} pairs have", comparison.too_few)):
        lines += [f"{what} {name}" for name in names]
    return "\n".join(lines)


def measure(binary, options, seconds):
    """The medians by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        command = [binary, "--json", path, *options]
        command += ["--long"] if seconds == math.inf else ["--budget", f"{seconds:.1f}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"compare.py: this command failed (exit {done.returncode}):\n  {' '.join(command)}\n"
                             + done.stdout[-2000:])
        with open(path, encoding="utf-8") as file:
            return {result["name"]: result["median_s"] for result in json.load(file)["results"]}


def measure_pairs(args, options):
    progress, pairs = Progress("compare"), []
    for i in range(args.pairs):
        medians = {}
        for name in ("base", "this") if i % 2 == 0 else ("this", "base"):
            done = 2 * i + len(medians)
            left = (args.budget - progress.passed()) / (2 * args.pairs - done)
            progress.step("measuring in turn", f"run {done + 1} of {2 * args.pairs}, "
                          + (args.name if name == "base" else "this build"))
            medians[name] = measure(getattr(args, name), options, left)
        pairs.append((medians["base"], medians["this"]))
    progress.clear()
    return pairs


def pair_count(value):
    if int(value) < FEWEST_PAIRS:
        raise argparse.ArgumentTypeError(f"is {value}; use {FEWEST_PAIRS} or more")
    return int(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="All other options go to weft_bench: --only SECTION ...", allow_abbrev=False)
    parser.add_argument("--base", required=True, metavar="FILE", help="weft_bench to compare with")
    parser.add_argument("--name", default="base", help="what to call it")
    parser.add_argument("--this", required=True, metavar="FILE", help="weft_bench to judge")
    parser.add_argument("--pairs", type=pair_count, default=6, help="runs of each (6)")
    parser.add_argument("--budget", type=float, default=570, metavar="SECONDS", help="that all may take (570)")
    parser.add_argument("--long", dest="budget", action="store_const", const=math.inf,
                        help="all calls of everything, however long that takes")
    args, options = parser.parse_known_args()
    print(text(compare(measure_pairs(args, options)), args.name))


if __name__ == "__main__":
    sys.exit(main())
