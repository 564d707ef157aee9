"""Compare servers: interleaved rounds, a ratio with its interval, a verdict that may be a doubt.

    result = await compare({"step02": url2, "step03": url3}, path="/products/7", connections=10)
    print(result)  # step03 against step02: 9.20 times (95 % interval 8.70 to 9.90): faster

In each round every side is measured once, in random order: what slows the machine for a while then
slows all sides alike, and the ratios within a round do not see it.
"""

import asyncio
import html
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from workshop.errors import WorkshopError
from workshop.load import Login, Request, load
from workshop.measuring.bar import bar
from workshop.measuring.machine import fingerprint
from workshop.measuring.result import Result
from workshop.measuring.student_t import confidence_interval, differs, rounds_needed

FEWEST = 5  # rounds; an interval of fewer would be too wide to be of use
FASTER, SLOWER, NOISY = "faster", "slower", "too noisy to tell"
UNITS = {"throughput": "requests/s", "p50": "ms", "p90": "ms", "p99": "ms"}


@dataclass
class Target:
    """One side: a server, and what to ask of it where that differs from the other sides."""

    url: str
    requests: list[Request] | None = None
    login: Login | None = None


@dataclass
class Ratio:
    """`name` against `base`: a ratio of the measure, with its 95 % interval, and what it means."""

    name: str
    base: str
    measure: str
    ratio: float
    low: float
    high: float
    verdict: str
    rounds: int
    rounds_needed: int | None = None

    def __str__(self) -> str:
        of = "" if self.measure == "throughput" else f" the {self.measure}"
        text = (
            f"{self.name} against {self.base}: {times(self.ratio)} times{of} "
            f"(95 % interval {times(self.low)} to {times(self.high)}): {self.verdict}"
        )
        if self.verdict != NOISY:
            return text
        more = f"{self.rounds_needed}" if self.rounds_needed else "more than 1,000"
        return f"{text} in {self.rounds} rounds; a difference of this size would take {more} rounds"


@dataclass(repr=False)
class Comparison:
    """The measure of each side in each round, in its unit of `UNITS`; the first is the base."""

    measure: str
    values: dict[str, list[float]] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)
    machine: dict = field(default_factory=fingerprint)

    @property
    def rounds(self) -> int:
        """Those that all sides have finished."""
        return min(map(len, self.values.values()))

    def ratio(self, name: str, base: str | None = None) -> Ratio:
        """`name` against `base`, or against the first side."""
        base = base or next(iter(self.values))
        pairs = list(zip(self.values[name], self.values[base], strict=False))
        return ratio_of(name, base, self.measure, [math.log(a / b) for a, b in pairs])

    def ratios(self) -> list[Ratio]:
        """Each side against the first."""
        return [self.ratio(name) for name in list(self.values)[1:]]

    def by(self, measure: str) -> "Comparison":
        """The same runs by another measure. Raises WorkshopError where one lacks it."""
        values = {
            name: [getattr(result, measure) for result in results]
            for name, results in self.results.items()
        }
        if not all(map(all, values.values())):
            raise WorkshopError(
                f"Some rounds gave too few answers for {measure}: make them longer."
            )
        return Comparison(measure, values, self.results, self.machine)

    def median(self, name: str) -> float:
        """Over the rounds, in the measure's unit."""
        return statistics.median(self.values[name])

    def warnings(self) -> list[str]:
        """What the runs themselves doubted, with how many of them did."""
        found: dict[str, int] = {}
        for name, results in self.results.items():
            for result in results:
                for kind in result.doubts():
                    found[f"{name}: {kind}"] = found.get(f"{name}: {kind}", 0) + 1
        return [f"{text} ({count} of {self.rounds} rounds)" for text, count in found.items()]

    def lines(self) -> list[str]:
        unit = UNITS.get(self.measure, self.measure)
        medians = [f"{name}: {figure(self.median(name))} {unit} (median)" for name in self.values]
        return [str(ratio) for ratio in self.ratios()] + medians

    def __str__(self) -> str:
        return "\n".join(self.lines() + [f"! {text}" for text in self.warnings()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *rest = [html.escape(text) for text in self.lines() + self.warnings()]
        return f"<b>{first}</b><br>" + "<br>".join(rest)

    def to_json(self) -> dict:
        """Values, medians and ratios as plain types."""
        return {
            "measure": self.measure,
            "values": self.values,
            "medians": {name: self.median(name) for name in self.values},
            "ratios": [vars(ratio) for ratio in self.ratios()],
            "warnings": self.warnings(),
            "machine": self.machine,
        }


def ratio_of(name: str, base: str, measure: str, logs: list[float]) -> Ratio:
    """The ratio and verdict from the paired log ratios of the rounds."""
    low, high = confidence_interval(logs)
    middle = sum(logs) / len(logs)
    more_is_better = measure not in ("p50", "p90", "p99")
    verdict, needed = NOISY, None
    if differs(logs):
        verdict = FASTER if (middle > 0) == more_is_better else SLOWER
    else:
        needed = rounds_needed(logs)
    bounds = [math.exp(value) for value in (middle, low, high)]
    return Ratio(name, base, measure, *bounds, verdict, len(logs), needed)


async def compare(sides: dict, **options) -> Comparison:
    """Measure the sides against each other.

    sides: name to URL, Target, or a function (async or not) that measures and gives a number.
    path: appended to the URLs. measure: "throughput", "p50", "p90" or "p99".
    rounds: 8; 5 at the least. seconds, warmup: of each side in each round (1, 0.3).
    seed: of the order; None: another each time. progress: show a bar on a terminal.
    requests, login, connections, rate, timeout: as in `load`.
    Raises WorkshopError for fewer than two sides, too few rounds, or a side without a good answer.
    """
    comparison = Comparison(options.get("measure", "throughput"))
    await measure_rounds(comparison, sides, **options)
    return comparison


def compare_sync(sides: dict, **options) -> Comparison:
    """`compare` where no event loop runs. Ctrl-C ends it with the rounds so far, if enough."""
    comparison = Comparison(options.get("measure", "throughput"))
    try:
        asyncio.run(measure_rounds(comparison, sides, **options))
    except KeyboardInterrupt:
        if not comparison.values or comparison.rounds < FEWEST:
            raise
    return comparison


async def measure_rounds(
    comparison: Comparison, sides: dict, *, measure="throughput", rounds=8, seed=None,
    progress=True, path="", seconds=1, warmup=0.3, **options,
):  # fmt: skip
    """Fill `comparison`, round by round."""
    if len(sides) < 2 or rounds < FEWEST:
        raise WorkshopError(f"A comparison takes two sides and {FEWEST} rounds, or more.")
    options |= {"seconds": seconds, "warmup": warmup, "progress": False}
    comparison.values = {name: [] for name in sides}
    comparison.results = {name: [] for name in sides}
    order, names = random.Random(seed), list(sides)
    with bar(" / ".join(names), progress) as moved:
        for number in range(rounds):
            for at, name in enumerate(order.sample(names, len(names))):
                moved((number + at / len(names)) / rounds, f"round {number + 1} of {rounds}")
                value = await one(comparison, name, sides[name], path, options)
                if not value > 0:
                    reason = why(comparison, name)
                    raise WorkshopError(f"{name} gave no {measure} in round {number + 1}{reason}.")
                comparison.values[name].append(value)


async def one(comparison: Comparison, name: str, side, path: str, options: dict) -> float:
    """One side's measure in one round; 0 where there is none."""
    if isinstance(side, Callable):
        value = side()
        return await value if hasattr(value, "__await__") else value
    target = side if isinstance(side, Target) else Target(side)
    own = {"requests": target.requests, "login": target.login}
    own = {key: value for key, value in own.items() if value is not None}
    result = await load(target.url.rstrip("/") + path, **options | own, label=name)
    comparison.results[name].append(result)
    return getattr(result, comparison.measure) or 0


def why(comparison: Comparison, name: str) -> str:
    """What the side's last run says about having no measure."""
    if not comparison.results[name]:
        return ""
    last = comparison.results[name][-1]
    return f": {last.requests} good answers, errors {last.errors or 'none'}"


def figure(value: float) -> str:
    """A median, in as many digits as a reader can use."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: float) -> str:
    """Three significant digits or so."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
