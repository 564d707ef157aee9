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

    It counts each as it ends, or within a second of its first query: hence the second looks.
    """
    server, _, name = database.rpartition("/")
    query = "SELECT sessions FROM pg_stat_database WHERE datname = %s"
    counts, deadline = [-1], time.monotonic() + 10
    while len(set(counts[-5:])) > 1 or len(counts) < 5:
        counts.append(query_rows(f"{server}/postgres", query, name)[0][0])
        if time.monotonic() > deadline:
            break
        time.sleep(0.3)
    return counts[-1]
