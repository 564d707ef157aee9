"""How sure a ratio is: a bootstrap interval that stays honest with few rounds."""

import math

import numpy as np

CONFIDENCE = 0.95  # of the interval that is shown
CHANCE = 0.01  # at which a difference may be claimed that is none
POWER = 0.8  # the chance that the rounds asked for will tell
RESAMPLES = 9999
MOST = 1000  # rounds; beyond, nobody will wait


def expanded(confidence: float, n: int) -> float:
    """What to ask of a percentile bootstrap of n values so that it holds at `confidence`.

    Bootstrap intervals of few values are too narrow, BCa ones too; test_compare.py counts how
    often. The expansion is that of T. C. Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69 (2015): as wide as Student's t makes a normal interval.
    """
    from scipy import stats  # here and below: it takes more than a second to import

    t = stats.t.ppf((1 + confidence) / 2, n - 1)
    return 1 - 2 * stats.norm.sf(math.sqrt(n / (n - 1)) * t)


def interval(logs, seed: int = 1) -> tuple[float, float]:
    """95 % bounds for the mean of `logs`, the paired log ratios of the rounds."""
    from scipy import stats

    logs = np.asarray(logs, dtype=float)
    if np.ptp(logs) == 0:
        return float(logs[0]), float(logs[0])
    found = stats.bootstrap(
        (logs,),
        np.mean,
        confidence_level=expanded(CONFIDENCE, len(logs)),
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def differs(logs) -> bool:
    """Whether the sides may be called different: 0 is not in the interval, and a t test agrees.

    The test is at 1 %, stricter than the interval: a workshop makes many comparisons, and calling
    one in twenty of equals different would be too many. Differences of log ratios of two equal
    sides are symmetric, where Student's t errs, if at all, by claiming too little.
    """
    from scipy import stats

    if np.ptp(logs) and stats.ttest_1samp(logs, 0).pvalue >= CHANCE:
        return False
    low, high = interval(logs)
    return not low <= 0 <= high


def rounds_to_tell(logs) -> int | None:
    """Rounds that would tell a difference of the size seen, with a chance of 80 %; None over 1,000.

    The usual sample size for the paired t test in `differs`.
    """
    from scipy import stats

    difference, spread = abs(np.mean(logs)), np.std(logs, ddof=1)
    for n in range(len(logs), MOST + 1):
        reach = stats.t.ppf(1 - CHANCE / 2, n - 1) + stats.t.ppf(POWER, n - 1)
        if reach * spread <= difference * math.sqrt(n):
            return n
    return None
