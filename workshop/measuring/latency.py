"""Latencies of one run, in whole microseconds, and the percentiles that its sample carries.

Every latency is counted, not sorted into the buckets of an HDR histogram: that is exact, and small
enough for runs of minutes. The package hdrhistogram has no wheels for Linux on arm64 and for Intel
Macs.
"""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate


def samples_needed(percentile: float) -> int:
    """How many latencies it takes to name a percentile: 5 for p50, 29 for p90, 299 for p99.

    With that many, the largest lies above the true percentile with 95 % confidence, whatever the
    distribution; with fewer, the sample has not reached that far. From S. S. Wilks, "Determination
    of sample sizes for setting tolerance limits", Annals of Mathematical Statistics 12 (1941): the
    smallest n with (p / 100) ** n <= 0.05.
    """
    return math.ceil(math.log(0.05) / math.log(percentile / 100))


class Latencies:
    """Recorded in microseconds; percentiles are in milliseconds, None where there are too few."""

    def __init__(self, counts: Iterable[Iterable[int]] = ()):
        """`counts`: pairs of a latency in microseconds and how often it occurred."""
        self.counts: Counter[int] = Counter()
        for value, count in counts:
            self.counts[value] += count

    def __len__(self) -> int:
        return self.counts.total()

    def __add__(self, other: "Latencies") -> "Latencies":
        return Latencies((self.counts + other.counts).items())

    def percentile(self, percentile: float) -> float | None:
        """In milliseconds; None where there are fewer than `samples_needed(percentile)`."""
        if len(self) < samples_needed(percentile):
            return None
        ordered = sorted(self.counts)
        below = accumulate(self.counts[value] for value in ordered)
        rank = math.ceil(len(self) * percentile / 100)
        return ordered[sum(reached < rank for reached in below)] / 1000

    @property
    def p50(self) -> float | None:
        return self.percentile(50)

    @property
    def p90(self) -> float | None:
        return self.percentile(90)

    @property
    def p99(self) -> float | None:
        return self.percentile(99)

    @property
    def longest(self) -> float:
        """In milliseconds; 0 without any."""
        return max(self.counts, default=0) / 1000
