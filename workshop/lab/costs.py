"""What single parts of a request cost, each alone: medians over some tries, in milliseconds."""

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2


def connection_costs_ms(database: str, times: int = 20) -> tuple[float, float]:
    """Opening and closing a connection, and one short query on an open one."""
    opening = _median_ms(lambda: psycopg2.connect(database).close(), times)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        query = _median_ms(lambda: cursor.execute("SELECT 1"), times)
    return opening, query


def password_hash_ms(password: str = "wonderland", times: int = 5) -> float:  # noqa: S107, known
    """Comparing a password with its hash, as POST /login does."""
    from werkzeug.security import check_password_hash, generate_password_hash

    stored_hash = generate_password_hash(password)
    return _median_ms(lambda: check_password_hash(stored_hash, password), times)


def token_verification_ms(times: int = 200) -> float:
    """Verifying a token's signature and claims, as every protected route does."""
    import jwt

    secret = "thirty-two bytes, for measuring only"  # noqa: S105
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 3600}, secret, "HS256")
    return _median_ms(lambda: jwt.decode(token, secret, algorithms=["HS256"]), times)


def _median_ms(work: Callable[[], Any], times: int) -> float:
    durations = []
    for _ in range(times):
        started_at = time.perf_counter()
        work()
        durations.append((time.perf_counter() - started_at) * 1000)
    return statistics.median(durations)
