#!/usr/bin/env python3
"""Tests that results on the parts of a text make those on the whole text.

    python3 benches/quality/test_page.py
"""

import math
import random
import statistics
import unittest

import page


def part(deltas: list[float]) -> dict:
    """A row's results on a part of the text, of the differences in its windows."""
    mean = statistics.fmean(deltas)
    error = statistics.stdev(deltas) / math.sqrt(len(deltas))
    results = {"bits_per_weight": 4.5, "perplexity": 30 * math.exp(mean), "kl": mean / 2, "top1": 0.75}
    return {"tokens": len(deltas) * 511, "window": 512, **results, "delta_nll": mean, "delta_standard_error": error}


class Page(unittest.TestCase):
    def setUp(self) -> None:
        random.seed(1)
        self.windows = [[random.gauss(0.2, 0.1) for _ in range(5)] for _ in range(8)]

    def test_parts_make_a_whole(self) -> None:
        every = [delta for windows in self.windows for delta in windows]
        found = page.whole([part(windows) for windows in self.windows])
        self.assertEqual(found["tokens"], 40 * 511)
        self.assertAlmostEqual(found["delta"], statistics.fmean(every))
        self.assertAlmostEqual(found["error"], statistics.stdev(every) / math.sqrt(len(every)))
        self.assertAlmostEqual(found["perplexity"], 30 * math.exp(statistics.fmean(every)))

    def test_a_row_is_better_beyond_two_standard_errors_of_the_difference(self) -> None:
        def compared(shift: float) -> str:
            parts = enumerate(self.windows)
            shifted = [[delta + shift + 0.01 * (-1) ** at for delta in windows] for at, windows in parts]
            rows = [{"int4-plus": part(one), "int4-mlx": part(other)} for one, other in zip(self.windows, shifted)]
            return page.pairs({str(at): row for at, row in enumerate(rows)})

        self.assertIn("| better |", compared(0.05))
        self.assertIn("| worse |", compared(-0.05))
        self.assertIn("| no difference |", compared(0.0))


if __name__ == "__main__":
    unittest.main()
