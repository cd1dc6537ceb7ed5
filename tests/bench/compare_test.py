#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/compare.py makes of measurements."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import compare  # noqa: E402


def pairs_of(base, this):
    return [({"a": b}, {"a": t}) for b, t in zip(base, this)]


class CompareTest(unittest.TestCase):
    def only_row(self, base, this):
        comparison = compare.compare(pairs_of(base, this))
        self.assertEqual(len(comparison.rows), 1)
        return comparison.rows[0]

    def test_medians_and_quartiles_are_of_the_ratios_of_pairs(self):
        row = self.only_row([2, 4, 6, 8, 10], [2, 2, 2, 2, 2])  # ratios 1 to 5
        self.assertEqual((row.ratio, row.low, row.high), (3, 2, 4))
        self.assertEqual((row.base_s, row.this_s), (6, 2))

    def test_what_both_share_cancels(self):
        clock = [1, 2, 1.5, 3, 1.2]  # the machine's
        row = self.only_row(clock, [c / 1.1 for c in clock])
        self.assertAlmostEqual(row.ratio, 1.1)
        self.assertAlmostEqual(row.high - row.low, 0)

    def test_a_difference_beyond_the_noise_is_marked(self):
        base = [1.00, 1.01, 1.00, 1.01, 1.00, 1.01]
        self.assertEqual(self.only_row(base, [b * 0.9 for b in base]).mark, "faster")
        self.assertEqual(self.only_row(base, [b * 1.1 for b in base]).mark, "SLOWER")

    def test_a_difference_within_the_noise_is_not(self):
        base = [1.0, 1.2, 1.0, 1.2, 1.0, 1.2]  # a build differs from itself by a fifth
        row = self.only_row(base, [b / 1.1 for b in base])
        self.assertAlmostEqual(row.ratio, 1.1)
        self.assertEqual(row.mark, "")

    def test_ratios_on_both_sides_of_1_are_not(self):
        self.assertEqual(self.only_row([1.00, 1.0, 1.0, 1.0], [0.99, 1.01, 1.01, 0.99]).mark, "")

    def test_what_only_one_has_and_what_has_too_few_pairs_is_named(self):
        pairs = [({"both": 1, "old": 1}, {"both": 1, "new": 1})] * 4
        pairs[0] = ({"both": 1, "old": 1, "seldom": 1}, {"both": 1, "new": 1, "seldom": 1})
        comparison = compare.compare(pairs)
        self.assertEqual([row.name for row in comparison.rows], ["both"])
        self.assertEqual((comparison.only_base, comparison.only_this, comparison.too_few),
                         (["old"], ["new"], ["seldom"]))
        lines = compare.text(comparison, "v1").splitlines()
        self.assertEqual(lines[-3:], ["only v1 has old", "only this build has new", "fewer than 4 pairs have seldom"])

    def test_a_line_has_both_times_the_ratio_its_spread_and_the_mark(self):
        lines = compare.text(compare.compare(pairs_of([1.1e-3] * 4, [1e-3] * 4)), "v1").splitlines()
        self.assertEqual(lines[0], "a     1.10 ms ->    1.00 ms  1.100 x  (1.100 to 1.100, noise 0.000)  faster")
        self.assertIn("1 measurements: 1 faster, 0 slower than v1", lines[1])


if __name__ == "__main__":
    unittest.main()
