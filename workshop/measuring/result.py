"""What one load gave: counted, rounded for people, and said with its own doubts."""

import html
from dataclasses import dataclass, field

from workshop.measuring.latency import Latencies, needed
from workshop.measuring.machine import sentence

NEAR_LIMIT = 0.85  # of one core; above it, a single-threaded client begins to queue its own work

CLOSED = (
    "Closed loop: a server that stalls is not asked meanwhile, so these latencies cannot show "
    "its stalls in full. An open loop (rate=…) can."
)


@dataclass
class Part:
    """One kind of request in the mix."""

    name: str
    latencies: Latencies
    errors: dict[str, int]

    def to_json(self) -> dict:
        return {"name": self.name, "errors": self.errors, "latencies": self.latencies.to_json()}


@dataclass(repr=False)
class Result:
    """One run. Throughput in good answers/s, percentiles in milliseconds, `client_cpu` in cores.

    `errors`: by kind: "status 503", "timeout", "reset", "refused", "bad answer". They are in
    neither throughput nor latencies. `reconnects`: closes that the server announced, or of idle
    connections; `retries`: kept connections that it closed on a request, which was then sent again.
    `complete` is False after Ctrl-C.
    """

    url: str
    label: str
    connections: int
    rate: float | None
    warmup: float
    seconds: float
    requests: int
    throughput: float
    errors: dict[str, int]
    reconnects: int
    retries: int
    latencies: Latencies
    parts: list[Part]
    client_cpu: float
    client_queued: float
    longest_unfinished: float
    complete: bool
    machine: dict = field(default_factory=dict)

    @classmethod
    def from_driver(cls, about: dict, names: list[str], answer: dict, machine: dict) -> "Result":
        """Put a result together from what the driver process wrote."""
        counts, errors = answer.pop("latencies"), answer.pop("errors")
        parts = [Part(*part) for part in zip(names, map(Latencies, counts), errors, strict=True)]
        total = sum((part.latencies for part in parts), Latencies())
        kinds = sorted({kind for part in parts for kind in part.errors})
        seconds, in_window = answer["seconds"], answer.pop("in_window")
        return cls(
            **about,
            **answer,
            requests=len(total),
            throughput=in_window / seconds if seconds else 0.0,
            errors={kind: sum(part.errors.get(kind, 0) for part in parts) for kind in kinds},
            latencies=total,
            parts=parts,
            machine=machine,
        )

    @property
    def p50(self) -> float | None:
        """Milliseconds, or None where the sample is too small (see `latency.needed`)."""
        return self.latencies.p50

    @property
    def p90(self) -> float | None:
        return self.latencies.p90

    @property
    def p99(self) -> float | None:
        return self.latencies.p99

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    @property
    def client_near_limit(self) -> bool:
        return self.client_cpu + self.client_queued > NEAR_LIMIT

    def warnings(self) -> list[str]:
        """Reasons to doubt the figures, one sentence each."""
        found = []
        if not self.complete:
            found.append(f"Partial: stopped after {self.seconds:.1f} s.")
        if self.client_near_limit:
            found.append(
                f"The client is near its limit (it used {self.client_cpu:.0%} of a core and waited "
                f"for one {self.client_queued:.0%} of the time): this may be its speed."
            )
        if self.error_count > 0.01 * (self.requests + self.error_count):
            found.append("More than 1 % of the requests failed: latencies are those of the others.")
        if self.retries:
            found.append(
                f"The server closed {self.retries:,} kept connections on a request; all sent again."
            )
        longest = self.latencies.longest
        if self.rate is None and self.longest_unfinished * 1000 > max(longest, 1):
            found.append("At the end requests had waited longer than any answered one: run longer.")
        if self.rate and self.throughput < 0.95 * self.rate - self.error_count / max(
            self.seconds, 0.001
        ):
            found.append(f"The server did not keep up with {self.rate:,.0f} requests/s.")
        return found

    def doubts(self) -> list[str]:
        """The warnings in a word each, the same from run to run, to be counted."""
        kinds = [f"errors ({kind})" for kind in self.errors]
        return kinds + ["client near its limit"] * self.client_near_limit

    def notes(self) -> list[str]:
        """Warnings, and what a closed loop cannot tell."""
        return self.warnings() + ([] if self.rate else [CLOSED])

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each figure, for a report."""
        loop = f"open loop, {self.rate:,.0f} requests/s" if self.rate else "closed loop"
        rows = [
            ("load", f"{self.connections} connections, {self.seconds:.1f} s, {loop}"),
            ("throughput", f"{self.throughput:,.1f} requests/s"),
            ("requests", f"{self.requests:,}"),
            ("errors", errors_text(self.errors)),
            ("latency", latency_text(self.latencies)),
        ]
        if len(self.parts) > 1:
            rows += [(part.name, part_text(part)) for part in self.parts]
        if self.reconnects:
            rows.append(("reconnects", f"{self.reconnects:,}"))
        rows.append(("client", f"{self.client_cpu:.0%} of one core"))
        return [*rows, ("machine", sentence(self.machine))]

    def to_json(self) -> dict:
        """All of it as plain types; latencies as pairs of microseconds and counts."""
        plain = {
            name: value for name, value in vars(self).items() if name not in ("parts", "latencies")
        }
        parts = [part.to_json() for part in self.parts]
        percentiles = {"p50_ms": self.p50, "p90_ms": self.p90, "p99_ms": self.p99}
        return plain | percentiles | {"parts": parts, "notes": self.notes()}

    def __str__(self) -> str:
        lines = [self.label or self.url]
        lines += [f"  {name:<12} {value}" for name, value in self.rows()]
        return "\n".join(lines + [f"  ! {text}" for text in self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cell = "<tr><th style='text-align:left'>{}</th><td style='text-align:left'>{}</td></tr>"
        rows = "".join(cell.format(html.escape(a), html.escape(b)) for a, b in self.rows())
        notes = "".join(f"<li>{html.escape(text)}</li>" for text in self.notes())
        title = html.escape(self.label or self.url)
        return f"<table><caption>{title}</caption>{rows}</table><ul>{notes}</ul>"


def errors_text(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {count:,}" for kind, count in errors.items()) or "none"


def latency_text(latencies: Latencies) -> str:
    """ "p50 1.2 ms, p90 3.4 ms, p99 needs 299 answers"."""
    named = []
    for percentile in (50, 90, 99):
        value = latencies.percentile(percentile)
        text = (
            f"needs {needed(percentile)} answers" if value is None else f"{milliseconds(value)} ms"
        )
        named.append(f"p{percentile} {text}")
    return ", ".join(named)


def part_text(part: Part) -> str:
    text = f"{len(part.latencies):,} requests, {latency_text(part.latencies)}"
    return text + (f", errors {errors_text(part.errors)}" if part.errors else "")


def milliseconds(value: float) -> str:
    """Three significant digits, no more than two decimals."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
