"""Latencies of one run: a histogram in microseconds, and the percentiles that its sample carries.

HDR histograms (hdrhistogram.org) keep three significant digits over the whole range. Where the
package has no wheel (it needs a C compiler on Intel Macs), whole microseconds are counted in a
dictionary instead: exact, only larger.
"""

import math
from collections import Counter

try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    HdrHistogram = None

LONGEST = 600_000_000  # ten minutes, in microseconds
DIGITS = 3


class Exact:
    """Stands in for HdrHistogram, with the two methods that are used here."""

    def __init__(self):
        self.counts = Counter()

    def record_value(self, value: int, count: int = 1) -> None:
        self.counts[value] += count

    def get_value_at_percentile(self, percentile: float) -> int:
        wanted = max(1, math.ceil(self.counts.total() * percentile / 100))
        for value, count in sorted(self.counts.items()):
            wanted -= count
            if wanted <= 0:
                return value
        return 0


def needed(percentile: float) -> int:
    """How many latencies it takes to name a percentile: 5 for p50, 29 for p90, 299 for p99.

    With that many, the largest lies above the true percentile with 95 % confidence, whatever the
    distribution; with fewer, the sample has not reached that far. From S. S. Wilks, "Determination
    of sample sizes for setting tolerance limits", Annals of Mathematical Statistics 12 (1941): the
    smallest n with (p / 100) ** n <= 0.05.
    """
    return math.ceil(math.log(0.05) / math.log(percentile / 100))


class Latencies:
    """Recorded in microseconds; percentiles are in milliseconds, None where there are too few."""

    def __init__(self, counts=()):
        """`counts`: pairs of a latency in microseconds and how often it was seen."""
        self.histogram = HdrHistogram(1, LONGEST, DIGITS) if HdrHistogram else Exact()
        self.seen: Counter = Counter()
        for value, count in counts:
            self.seen[value] += count
            self.histogram.record_value(min(max(int(value), 1), LONGEST), count)

    def __len__(self) -> int:
        return self.seen.total()

    def __add__(self, other: "Latencies") -> "Latencies":
        return Latencies((self.seen + other.seen).items())

    def percentile(self, percentile: float) -> float | None:
        """In milliseconds; None where the sample is smaller than `needed(percentile)`."""
        if len(self) < needed(percentile):
            return None
        return self.histogram.get_value_at_percentile(percentile) / 1000

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
        return max(self.seen, default=0) / 1000

    def to_json(self) -> list[list[int]]:
        """Pairs of microseconds and counts, in ascending order."""
        return [[value, count] for value, count in sorted(self.seen.items())]
