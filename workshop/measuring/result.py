"""What one load gave: counted, rounded for people, and with its own doubts."""

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workshop.measuring.formatting import format_number
from workshop.measuring.latency import Latencies, samples_needed
from workshop.measuring.machine import sentence

NEAR_LIMIT = 0.85  # of one core; above it, a single-threaded client begins to queue its own work

CLOSED_LOOP_NOTE = (
    "Closed loop: each connection sends its next request when the last one is answered, so a "
    "server that stalls gets no requests meanwhile, and these latencies can't show its stalls in "
    "full. An open loop (RATE=100, in Python rate=100) can."
)
RECONNECTS_NOTE = (
    "Reconnects: connections that the server closed after an answer, as plain HTTP/1.0 servers do "
    "each time. Opening the next one is part of the figures."
)
PERCENTILE_NOTE = (
    "A percentile is given only where the run has enough answers for it: {needed} for {name}. Run "
    "longer to see it."
)


@dataclass
class RequestResult:
    """What one kind of request in the mix gave; `errors` by kind."""

    name: str
    latencies: Latencies
    errors: dict[str, int]


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
    by_request: list[RequestResult]
    client_cpu: float
    client_queued: float
    longest_unfinished: float
    complete: bool
    machine: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_driver(
        cls,
        about: Mapping[str, Any],
        names: list[str],
        answer: dict[str, Any],
        machine: dict[str, Any],
    ) -> "Result":
        """Put a result together from what the driver process wrote."""
        counts, errors = answer.pop("latencies"), answer.pop("errors")
        each = zip(names, map(Latencies, counts), errors, strict=True)
        by_request = [RequestResult(*fields) for fields in each]
        total = sum((each.latencies for each in by_request), Latencies())
        seconds, answers = answer["seconds"], answer.pop("answers_in_window")
        return cls(
            **about,
            **answer,
            requests=len(total),
            throughput=answers / seconds if seconds else 0.0,
            errors=sum_errors(errors),
            latencies=total,
            by_request=by_request,
            machine=machine,
        )

    @property
    def p50(self) -> float | None:
        """Milliseconds, or None where the sample is too small (see `latency.samples_needed`)."""
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
        failed_per_second = self.error_count / max(self.seconds, 0.001)
        if self.rate and self.throughput < 0.95 * self.rate - failed_per_second:
            found.append(f"The server did not keep up with {self.rate:,.0f} requests/s.")
        return found

    def warning_kinds(self) -> list[str]:
        """The warnings in a few words each, the same from run to run, so they can be counted."""
        kinds = [f"errors ({kind})" for kind in self.errors]
        return kinds + ["client near its limit"] * self.client_near_limit

    def notes(self) -> list[str]:
        """The warnings, and what a reader must know to understand the figures."""
        notes = self.warnings()
        missing = [p for p in (50, 90, 99) if self.latencies.percentile(p) is None]
        if missing:
            needed = samples_needed(missing[0])
            notes.append(PERCENTILE_NOTE.format(needed=needed, name=f"p{missing[0]}"))
        if self.reconnects:
            notes.append(RECONNECTS_NOTE)
        return notes if self.rate else [*notes, CLOSED_LOOP_NOTE]

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each figure, for a report."""
        rows = [
            ("load", load_text(self.connections, self.seconds, self.rate)),
            ("throughput", f"{self.throughput:,.1f} requests/s"),
            ("requests", f"{self.requests:,}"),
            ("errors", errors_text(self.errors)),
            ("latency", latency_text(self.latencies)),
        ]
        if len(self.by_request) > 1:
            rows += [(each.name, request_text(each)) for each in self.by_request]
        if self.reconnects:
            rows.append(("reconnects", f"{self.reconnects:,}"))
        rows.append(("client", f"{self.client_cpu:.0%} of one core"))
        return [*rows, ("machine", sentence(self.machine))]

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


def sum_errors(errors: list[dict[str, int]]) -> dict[str, int]:
    """The counts of several runs or kinds of request, by kind of error."""
    kinds = sorted({kind for each in errors for kind in each})
    return {kind: sum(each.get(kind, 0) for each in errors) for kind in kinds}


def load_text(connections: int, seconds: float, rate: float | None) -> str:
    """ "50 connections, 3 s, closed loop"."""
    loop = f"open loop, {rate:,.0f} requests/s" if rate else "closed loop"
    many = "1 connection" if connections == 1 else f"{connections} connections"
    return f"{many}, {seconds:.3g} s, {loop}"


def errors_text(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind}: {count:,}" for kind, count in errors.items()) or "none"


def latency_text(latencies: Latencies) -> str:
    """ "p50 1.2 ms, p90 3.45 ms, p99 –": a dash where there are too few answers."""
    values = {p: latencies.percentile(p) for p in (50, 90, 99)}
    return ", ".join(
        f"p{p} –" if value is None else f"p{p} {format_number(value)} ms"
        for p, value in values.items()
    )


def request_text(result: RequestResult) -> str:
    text = f"{len(result.latencies):,} requests, {latency_text(result.latencies)}"
    return text + (f", errors {errors_text(result.errors)}" if result.errors else "")
