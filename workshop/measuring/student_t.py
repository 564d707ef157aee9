"""How sure a ratio is: Student's t interval and test of the log ratios of paired rounds."""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, stdev

CONFIDENCE = 0.95  # of the interval that is shown
SIGNIFICANCE = 0.01  # the chance to call two equal sides different
POWER = 0.8  # the chance that the rounds asked for find the difference
MAX_ROUNDS = 1000  # more would take too long for anyone


def t_probability(angle: float, df: int) -> float:
    """How likely Student's t with `df` degrees of freedom lies within ± tan(angle) × sqrt(df).

    Exact for every whole number of degrees of freedom: M. Abramowitz and I. A. Stegun, Handbook of
    Mathematical Functions (1964), equations 26.7.3 and 26.7.4.
    """
    cosine, odd = math.cos(angle), df % 2
    term = cosine if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(2 + odd, df - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    within = math.sin(angle) * total
    return 2 / math.pi * (angle + within) if odd else within


@lru_cache
def t_quantile(probability: float, df: int) -> float:
    """The value that Student's t with `df` (1 or more) degrees of freedom stays below.

    `probability`: of that, from 0.5 up to less than 1.
    """
    low, high, wanted = 0.0, math.pi / 2, 2 * probability - 1
    for _ in range(60):  # halving the interval this often leaves nothing that a float can show
        middle = (low + high) / 2
        if t_probability(middle, df) < wanted:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(df)


def confidence_interval(logs: Sequence[float]) -> tuple[float, float]:
    """95 % bounds for the mean of `logs`, the log ratios of two rounds or more."""
    reach = t_quantile((1 + CONFIDENCE) / 2, len(logs) - 1) * standard_error(logs)
    return fmean(logs) - reach, fmean(logs) + reach


def differs(logs: Sequence[float]) -> bool:
    """Whether a paired t test calls the sides different.

    It tests at 1 %, which is stricter than the interval: a workshop makes many comparisons, and to
    call one in twenty equal pairs different would be too many.
    """
    reach = t_quantile(1 - SIGNIFICANCE / 2, len(logs) - 1) * standard_error(logs)
    return abs(fmean(logs)) > reach


def rounds_needed(logs: Sequence[float]) -> int | None:
    """Rounds that find a difference of the size seen in four of five tries; None if over 1,000.

    This is the usual sample size for the paired t test in `differs`.
    """
    difference, spread = abs(fmean(logs)), stdev(logs)

    def enough(rounds: int) -> bool:
        reach = t_quantile(1 - SIGNIFICANCE / 2, rounds - 1) + t_quantile(POWER, rounds - 1)
        return reach * spread <= difference * math.sqrt(rounds)

    if not enough(MAX_ROUNDS):
        return None
    low, high = len(logs) - 1, MAX_ROUNDS
    while high - low > 1:  # more rounds are never worse, so the first that do can be bisected
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def standard_error(logs: Sequence[float]) -> float:
    """Of the mean."""
    return stdev(logs) / math.sqrt(len(logs))
