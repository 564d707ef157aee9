"""What a result could be at best, measured or reckoned on the same machine.

print(beside(result, waiting(50, 0.1), await no_op(url)))
# 474 requests/s
#   95 % of 500 requests/s: 50 connections / 0.1 s of waiting
"""

import html
import time
from contextlib import closing
from dataclasses import dataclass

from workshop.errors import WorkshopError
from workshop.load import load
from workshop.measuring.result import Result


@dataclass
class Limit:
    """`why` says what the limit is, `per_second` how many requests/s it would allow."""

    why: str
    per_second: float

    def share(self, throughput: float) -> float:
        """Of the limit, 1.0 being all of it; over 1.0 it was measured in a slower moment."""
        return throughput / self.per_second


@dataclass
class Beside:
    """A throughput beside its limits."""

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

    def to_json(self) -> dict:
        return {"throughput": self.throughput, "limits": [vars(limit) for limit in self.limits]}


def beside(result: Result | float, *limits: Limit) -> Beside:
    """A result, or requests/s, beside what it could be at best."""
    throughput = result.throughput if isinstance(result, Result) else result
    return Beside(throughput, list(limits))


def waiting(connections: int, wait: float) -> Limit:
    """Closed loop: each of the connections can ask again after `wait` seconds at the earliest.

    Little's law: J. D. C. Little, "A Proof for the Queuing Formula: L = λW", Operations Research 9
    (1961).
    """
    many = "1 connection" if connections == 1 else f"{connections} connections"
    return Limit(f"{many} / {wait:g} s of waiting", connections / wait)


async def no_op(url: str, path: str = "/", **options) -> Limit:
    """The route that does nothing, on the same server: what its HTTP and routing alone cost.

    Options as in `load`. Raises WorkshopError where it gives no good answer.
    """
    result = await load(url.rstrip("/") + path, **{"seconds": 1, "progress": False} | options)
    if not result.throughput:
        raise WorkshopError(f"GET {path} of {url} gave no good answer: {result.errors}")
    return Limit(f"GET {path}, which does nothing, on the same server", result.throughput)


def bare_query(sql: str, dsn: str, parameters=None, seconds: float = 1.0) -> Limit:
    """One query after another through libpq, over one kept connection, its rows fetched.

    dsn: as libpq or SQLAlchemy writes it. Raises WorkshopError where PostgreSQL does not answer.
    """
    import psycopg2  # only here: load and comparison need no PostgreSQL

    try:
        with closing(psycopg2.connect(dsn.replace("+psycopg2", "", 1))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            _queries(cursor, sql, parameters, seconds / 5)  # warm: plans and pages
            count, took = _queries(cursor, sql, parameters, seconds)
    except psycopg2.Error as error:
        sentence = str(error).strip().splitlines()[0]
        raise WorkshopError(f"The bare query could not be measured: {sentence}") from error
    return Limit("the bare query through libpq, over one kept connection", count / took)


def _queries(cursor, sql: str, parameters, seconds: float) -> tuple[int, float]:
    """How many were answered, and in how many seconds."""
    begun, count = time.perf_counter(), 0
    while (took := time.perf_counter() - begun) < seconds or not count:
        cursor.execute(sql, parameters)
        cursor.fetchall()
        count += 1
    return count, took
