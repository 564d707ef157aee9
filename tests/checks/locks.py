"""Locks in PostgreSQL: a check holds one, so that requests wait for as long as it likes."""

from contextlib import closing, contextmanager

import psycopg2
from blackbox import Request, eventually, expect
from bursts import Burst


@contextmanager
def row_locked(services, product_id: int):
    """No other transaction can change this product until the block ends."""
    with _held(services, "SELECT 1 FROM products WHERE id = %s FOR UPDATE", product_id):
        yield


@contextmanager
def rows_locked(services, product_ids):
    """No other transaction can change these products until the block ends."""
    statement = "SELECT 1 FROM products WHERE id = ANY(%s) FOR UPDATE"
    with _held(services, statement, list(product_ids)):
        yield


@contextmanager
def changed_elsewhere(services, statement: str, *values):
    """Another process has run this statement; its transaction commits when the block ends."""
    with _held(services, statement, *values) as connection:
        yield
        connection.commit()


@contextmanager
def table_locked(services, table: str):
    """No other transaction can read or write the table until the block ends."""
    with _held(services, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
        yield


@contextmanager
def slow_orders(db, seconds: float):
    """PostgreSQL takes so long to write an order, without waiting for any lock."""
    db.query(
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END';"
        "CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION take_long()"
    )
    try:
        yield
    finally:
        db.query("DROP FUNCTION take_long() CASCADE")


@contextmanager
def held_order(app, db, product, services):
    """An order that waits for the product's row, which is locked until the block ends.

    Gives a function that returns the order's answer, or None where none came.
    """
    body = {"product_id": product["id"], "quantity": 1}
    request = Request("POST", "/orders", body, app.authorization())
    with row_locked(services, product["id"]):
        order = Burst(app, [request])
        arrived = eventually(lambda: db.value(WAITING))
        expect(arrived, "POST /orders for a locked row", "no query in PostgreSQL", "one that waits")
        yield lambda: order.answers()[0]


ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@contextmanager
def _held(services, statement: str, *values):
    # PostgreSQL keeps places for its superuser: an app that takes all others doesn't stop us.
    url = services.postgres.admin("shop")
    with closing(psycopg2.connect(url, application_name="checks")) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
        yield connection
