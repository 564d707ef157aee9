"""What a result could be at best: calculated, or measured on the same machine.

print(compare_with_limits(result, concurrency_limit(50, 0.1), await no_op_limit(url)))
# 474 requests/s
#   95 % of 500 requests/s: 50 connections / 0.1 s of waiting
"""

import html
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2

from workshop.errors import WorkshopError
from workshop.load import load, until_answered
from workshop.measuring.result import Result
from workshop.urls import libpq_url


@dataclass
class Limit:
    """`why` says what the limit is, `per_second` how many requests/s it would allow."""

    why: str
    per_second: float

    def share(self, throughput: float) -> float:
        """Of the limit, 1.0 being all of it; over 1.0 it was measured in a slower moment."""
        return throughput / self.per_second


@dataclass
class LimitComparison:
    """A throughput and the limits to compare it with."""

    throughput: float
    limits: list[Limit]

    def lines(self) -> list[str]:
        shares = [
            f"{limit.share(self.throughput):.0%} of {limit.per_second:,.0f} requests/s: {limit.why}"
            for limit in self.limits
        ]
        return [f"{self.throughput:,.0f} requests/s", *shares]

    def __str__(self) -> str:
        return "\n  ".join(self.lines())

    def _repr_html_(self) -> str:
        first, *rest = [html.escape(line) for line in self.lines()]
        return f"<b>{first}</b>" + "".join(f"<br>{line}" for line in rest)


def compare_with_limits(result: Result | float, *limits: Limit) -> LimitComparison:
    """A result, or requests/s, as a share of what it could be at best."""
    throughput = result.throughput if isinstance(result, Result) else result
    return LimitComparison(throughput, list(limits))


def concurrency_limit(connections: int, wait: float) -> Limit:
    """Closed loop: each of the connections can ask again after `wait` seconds at the earliest.

    Little's law: J. D. C. Little, "A Proof for the Queuing Formula: L = λW", Operations Research 9
    (1961).
    """
    many = "1 connection" if connections == 1 else f"{connections} connections"
    return Limit(f"{many} / {wait:g} s of waiting", connections / wait)


async def no_op_limit(
    url: str, path: str = "/", *, connections: int = 50, seconds: float = 1
) -> Limit:
    """The route that does nothing, on the same server: what its HTTP and routing alone cost.

    Raises WorkshopError where it gives no good answer.
    """

    async def attempt(seconds: float) -> Result:
        address = url.rstrip("/") + path
        return await load(address, connections=connections, seconds=seconds, progress=False)

    result = await until_answered(attempt, seconds)
    if not result.throughput:
        raise WorkshopError(f"GET {path} of {url} gave no good answer: {result.errors}")
    return Limit(f"GET {path}, which does nothing, on the same server", result.throughput)


def bare_query_limit(sql: str, dsn: str, parameters: Any = None, seconds: float = 1.0) -> Limit:
    """One query after another through libpq, over one kept connection, its rows fetched.

    dsn: as libpq or SQLAlchemy writes it. Raises WorkshopError where PostgreSQL does not answer.
    """
    try:
        with closing(psycopg2.connect(libpq_url(dsn))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            _run_queries(cursor, sql, parameters, seconds / 5)  # warms up plans and pages
            count, elapsed = _run_queries(cursor, sql, parameters, seconds)
    except psycopg2.Error as error:
        sentence = str(error).strip().splitlines()[0]
        raise WorkshopError(f"The bare query could not be measured: {sentence}") from error
    return Limit("the bare query through libpq, over one kept connection", count / elapsed)


def _run_queries(cursor: Any, sql: str, parameters: Any, seconds: float) -> tuple[int, float]:
    """How many were answered, and in how many seconds."""
    started_at, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started_at) < seconds or not count:
        cursor.execute(sql, parameters)
        cursor.fetchall()
        count += 1
    return count, elapsed
