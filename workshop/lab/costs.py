"""What single steps of a request cost, each alone, in milliseconds: medians over some tries."""

import statistics
import time
from collections.abc import Callable
from contextlib import closing

import psycopg2


def milliseconds(work: Callable, times: int) -> float:
    """The median time of `work()`."""
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def connecting(database: str, times: int = 20) -> tuple[float, float]:
    """To open and close a connection, and to run one short query on an open one."""
    opening = milliseconds(lambda: psycopg2.connect(database).close(), times)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        query = milliseconds(lambda: cursor.execute("SELECT 1"), times)
    return opening, query


def hashing(password: str = "wonderland", times: int = 5) -> float:  # noqa: S107, a known one
    """To compare a password with its hash, as POST /login does."""
    from werkzeug.security import check_password_hash, generate_password_hash

    stored = generate_password_hash(password)
    return milliseconds(lambda: check_password_hash(stored, password), times)


def verifying(times: int = 200) -> float:
    """To verify a token's signature and claims, as every protected route does."""
    import jwt

    secret = "thirty-two bytes, for measuring only"  # noqa: S105
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 3600}, secret, "HS256")
    return milliseconds(lambda: jwt.decode(token, secret, algorithms=["HS256"]), times)


def sessions(database: str) -> int:
    """How many connections to this database PostgreSQL has counted, once no more are reported.

    Each is counted as it ends, or soon after its first query: hence the second look.
    """
    server, _, name = database.rpartition("/")
    query = "SELECT sessions FROM pg_stat_database WHERE datname = %s"
    seen, deadline = -1, time.monotonic() + 5
    with closing(psycopg2.connect(f"{server}/postgres")) as connection:
        connection.autocommit = True  # in a transaction the counts would stand still
        with connection.cursor() as cursor:
            while time.monotonic() < deadline:
                cursor.execute(query, [name])
                before, seen = seen, cursor.fetchone()[0]
                if before == seen:
                    break
                time.sleep(0.3)
    return seen
