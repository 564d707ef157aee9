"""A limit on PostgreSQL connections: PostgreSQL refuses the 101st. Step 3 replaces it by a pool."""

from threading import BoundedSemaphore

import psycopg2
from sqlalchemy import Engine, Pool, event


def install(limit):
    """Let at most `limit` connections be open at once; other greenlets wait until one closes."""
    connection_slots = BoundedSemaphore(limit)

    @event.listens_for(Engine, "do_connect")
    def acquire_slot(dialect, record, args, options):
        connection_slots.acquire()
        try:
            return psycopg2.connect(*args, **options)
        except BaseException:
            connection_slots.release()
            raise

    @event.listens_for(Pool, "close")
    def release_slot(connection, record):
        connection_slots.release()
