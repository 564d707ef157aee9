"""Compare servers: interleaved rounds, a ratio with its interval, a verdict that may be a doubt.

    result = await compare({"step02": url2, "step03": url3}, path="/products/7", connections=10)
    print(result)  # step03 against step02: 9.20 times (95 % interval 8.70 to 9.90): faster

In each round every side is measured once, in random order: what slows the machine for a while then
slows all sides alike, and the ratios within a round don't change.
"""

import asyncio
import html
import math
import random
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workshop.errors import WorkshopError
from workshop.load import Login, Request, load, until_answered
from workshop.measuring.formatting import format_number, format_ratio
from workshop.measuring.progress import progress_bar
from workshop.measuring.result import Result, load_text
from workshop.measuring.student_t import confidence_interval, differs, rounds_needed

MIN_ROUNDS = 5  # an interval of fewer would be too wide to be of use
FASTER, SLOWER, NOISY = "faster", "slower", "too noisy to tell"
UNITS = {"throughput": "requests/s", "p50": "ms", "p90": "ms", "p99": "ms"}


@dataclass
class Side:
    """A server, and what to ask of it where that differs from the other sides."""

    url: str
    requests: Sequence[Request] | None = None
    login: Login | None = None


# A function that measures a side once: the measure as a number, or the result that has it.
Measurement = Callable[[], float | Result | Awaitable[float | Result]]


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
        low, high = format_ratio(self.low), format_ratio(self.high)
        text = (
            f"{self.name} against {self.base}: {format_ratio(self.ratio)} times{of} "
            f"(95 % interval {low} to {high}): {self.verdict}"
        )
        if self.verdict != NOISY:
            return text
        needed = f"{self.rounds_needed}" if self.rounds_needed else "more than 1,000"
        return (
            f"{text} in {self.rounds} rounds; a difference of this size would take {needed} rounds"
        )


@dataclass(repr=False)
class Comparison:
    """The measure of each side in each round, in its unit of `UNITS`; the first is the base.

    `results` are those of the loads; a side that a function measures may have none.
    """

    measure: str
    values: dict[str, list[float]] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """Those that all sides have finished."""
        return min(map(len, self.values.values()), default=0)

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
        return Comparison(measure, values, self.results)

    def __add__(self, more: "Comparison") -> "Comparison":
        """The rounds of both: `more` are further rounds of the same sides."""
        values = {name: self.values[name] + more.values[name] for name in self.values}
        results = {name: self.results[name] + more.results[name] for name in self.results}
        return Comparison(self.measure, values, results)

    def median(self, name: str) -> float:
        """Over the rounds, in the measure's unit."""
        return statistics.median(self.values[name])

    def warnings(self) -> list[str]:
        """What the runs themselves doubted, with how many of them did."""
        counts = Counter(
            f"{name}: {kind}"
            for name, results in self.results.items()
            for result in results
            for kind in result.warning_kinds()
        )
        return [f"{text} ({count} of {self.rounds} rounds)" for text, count in counts.items()]

    def loads(self) -> list[str]:
        """What was asked, over how many connections: one line, or one for each side."""
        texts = {name: asked(results[0]) for name, results in self.results.items() if results}
        if len(set(texts.values())) > 1:
            return [f"{name}: {text}" for name, text in texts.items()]
        return [f"{text}, in {self.rounds} rounds" for text in set(texts.values())]

    def lines(self) -> list[str]:
        unit = UNITS.get(self.measure, self.measure)
        medians = [
            f"{name}: {format_number(self.median(name))} {unit} (median)" for name in self.values
        ]
        return [*map(str, self.ratios()), *medians, *self.loads()]

    def __str__(self) -> str:
        return "\n".join(self.lines() + [f"! {text}" for text in self.warnings()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *rest = [html.escape(text) for text in self.lines() + self.warnings()]
        return f"<b>{first}</b><br>" + "<br>".join(rest)


def ratio_of(name: str, base: str, measure: str, logs: Sequence[float]) -> Ratio:
    """The ratio and verdict from the paired log ratios of the rounds."""
    low, high = confidence_interval(logs)
    mean = statistics.fmean(logs)
    more_is_better = measure not in ("p50", "p90", "p99")
    verdict, needed = NOISY, None
    if differs(logs):
        verdict = FASTER if (mean > 0) == more_is_better else SLOWER
    else:
        needed = rounds_needed(logs)
    ratio, low, high = (math.exp(value) for value in (mean, low, high))
    return Ratio(name, base, measure, ratio, low, high, verdict, len(logs), needed)


def asked(result: Result) -> str:
    """ "GET /products/7, 10 connections, 1 s, closed loop"."""
    names = " + ".join(each.name for each in result.by_request)
    return f"{names}, {load_text(result.connections, result.seconds, result.rate)}"


async def compare(
    sides: Mapping[str, str | Side | Measurement],
    *,
    path: str = "",
    requests: Sequence[Request] | None = None,
    connections: int = 50,
    seconds: float = 1,
    rate: float | None = None,
    warmup: float = 0.3,
    timeout: float = 10,
    login: Login | None = None,
    measure: str = "throughput",
    rounds: int = 8,
    seed: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Measure the sides against each other.

    sides: name to URL, Side, or a function (async or not) that measures and gives a number or a
    Result. path: appended to the URLs. requests: the mix to send instead of a GET of the path.
    connections, rate, timeout, login: as in `load`. seconds, warmup: of each side in each round;
    a round that gets no answer is repeated, and lasts longer.
    measure: "throughput", "p50", "p90" or "p99". rounds: 5 or more.
    seed: of the order within the rounds; None: a different order each time.
    progress: show a bar on a terminal or in a notebook.
    Raises WorkshopError for fewer than two sides, too few rounds, or a side without a good answer.
    """
    rounds_to_run = Rounds(
        sides, path, requests, connections, seconds, rate, warmup, timeout, login, measure, rounds,
        seed, progress,
    )  # fmt: skip
    return await rounds_to_run.run()


def compare_sync(
    sides: Mapping[str, str | Side | Measurement],
    *,
    path: str = "",
    requests: Sequence[Request] | None = None,
    connections: int = 50,
    seconds: float = 1,
    rate: float | None = None,
    warmup: float = 0.3,
    timeout: float = 10,
    login: Login | None = None,
    measure: str = "throughput",
    rounds: int = 8,
    seed: int | None = None,
    progress: bool = True,
) -> Comparison:
    """`compare` where no event loop runs. Ctrl-C ends it with the rounds so far, if enough."""
    rounds_to_run = Rounds(
        sides, path, requests, connections, seconds, rate, warmup, timeout, login, measure, rounds,
        seed, progress,
    )  # fmt: skip
    try:
        return asyncio.run(rounds_to_run.run())
    except KeyboardInterrupt:
        if rounds_to_run.comparison.rounds < MIN_ROUNDS:
            raise
        return rounds_to_run.comparison


@dataclass
class Rounds:
    """The rounds of one comparison; fields as in `compare`."""

    sides: Mapping[str, str | Side | Measurement]
    path: str
    requests: Sequence[Request] | None
    connections: int
    seconds: float
    rate: float | None
    warmup: float
    timeout: float
    login: Login | None
    measure: str
    rounds: int
    seed: int | None
    progress: bool

    def __post_init__(self) -> None:
        if len(self.sides) < 2 or self.rounds < MIN_ROUNDS:
            raise WorkshopError(f"A comparison takes two sides and {MIN_ROUNDS} rounds, or more.")
        self.comparison = Comparison(
            self.measure,
            values={name: [] for name in self.sides},
            results={name: [] for name in self.sides},
        )

    async def run(self) -> Comparison:
        """Measure round by round, and fill `comparison`."""
        order, names = random.Random(self.seed), list(self.sides)
        with progress_bar(" / ".join(names), self.progress) as update_progress:
            for number in range(self.rounds):
                for at, name in enumerate(order.sample(names, len(names))):
                    fraction = (number + at / len(names)) / self.rounds
                    update_progress(fraction, f"round {number + 1} of {self.rounds}")
                    self.comparison.values[name].append(await self.measure_side(name))
        return self.comparison

    async def measure_side(self, name: str) -> float:
        """One side's measure in one round. Raises WorkshopError where there is none."""
        side = self.sides[name]
        value = side() if callable(side) else self.load_side(name, side)
        if isinstance(value, Awaitable):
            value = await value
        reason = ""
        if isinstance(value, Result):
            self.comparison.results[name].append(value)
            reason = f": {value.requests} good answers, errors {value.errors or 'none'}"
            value = getattr(value, self.measure) or 0
        if not value > 0:
            number = len(self.comparison.values[name]) + 1
            raise WorkshopError(f"{name} gave no {self.measure} in round {number}{reason}.")
        return value

    async def load_side(self, name: str, given: str | Side) -> Result:
        side = given if isinstance(given, Side) else Side(given)

        async def attempt(seconds: float) -> Result:
            return await load(
                side.url.rstrip("/") + self.path,
                side.requests or self.requests,
                connections=self.connections,
                seconds=seconds,
                rate=self.rate,
                warmup=self.warmup,
                timeout=self.timeout,
                login=side.login or self.login,
                progress=False,
                label=name,
            )

        return await until_answered(attempt, self.seconds, self.measure)
