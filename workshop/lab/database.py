"""What the notebooks ask PostgreSQL themselves; `database` is what psycopg2 takes to reach it."""

import time
from contextlib import closing
from typing import Any

import psycopg2


def query_rows(database: str, query: str, *values: Any) -> list[tuple]:
    """The rows that one query gives, over a connection of its own."""
    with closing(psycopg2.connect(database, application_name="notebook")) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()


def count_sessions(database: str) -> int:
    """How many connections to this database PostgreSQL has counted, once the count stands still.

    It counts each as it ends, or soon after its first query: hence the second look.
    """
    server, _, name = database.rpartition("/")
    query = "SELECT sessions FROM pg_stat_database WHERE datname = %s"
    count, deadline = -1, time.monotonic() + 5
    while time.monotonic() < deadline:
        before, count = count, query_rows(f"{server}/postgres", query, name)[0][0]
        if before == count:
            break
        time.sleep(0.3)
    return count
