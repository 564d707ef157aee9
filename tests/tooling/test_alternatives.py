"""Step 2's alternatives serve for real: gunicorn with the same app, uvicorn with Quart."""

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import aiohttp
import httpx
import psycopg2
import pytest
from blackbox import eventually
from locks import row_locked

from workshop.bench.testbed import GUNICORN, QUART
from workshop.services import private

SUPPLIER = 0.5  # seconds
PATIENCE = 20  # seconds, for whatever a busy machine may delay
ASYNC = ("GET", "/async", None)


@pytest.fixture(scope="module")
def services():
    with private() as own:
        yield own


@pytest.fixture(scope="module")
def gunicorn(services, tmp_path_factory):
    """The app under two workers."""
    with served(GUNICORN, services.environment(), tmp_path_factory.mktemp("gunicorn")) as server:
        yield server


@pytest.fixture
def database(services):
    with closing(psycopg2.connect(services.postgres.url())) as connection:
        connection.autocommit = True
        yield connection.cursor()


def test_gunicorn_overlaps_waits(gunicorn):
    statuses, seconds = together(gunicorn, [ASYNC] * 20)
    assert statuses == [200] * 20
    assert seconds < 6 * SUPPLIER  # one after another in each of two workers: 10


def test_gunicorn_waits_for_postgresql_in_greenlets(gunicorn, services, database):
    """20 orders wait for one row; a psycopg2 that blocks brings one for each of two workers."""
    with ThreadPoolExecutor() as pool:
        with row_locked(services, 11):
            orders = pool.submit(together, gunicorn, [order(11)] * 20)
            assert eventually(lambda: waiting(database) == 20)
        assert orders.result()[0] == [201] * 20


def test_gunicorn_workers_share_the_connections_and_sell_each_piece_once(gunicorn, database):
    database.execute("UPDATE products SET stock = 50 WHERE id = 12")
    statuses, _ = together(gunicorn, [order(12)] * 200)
    assert sorted(statuses) == [201] * 50 + [409] * 150


def test_gunicorn_finishes_an_order_in_flight_after_sigterm(services, database, tmp_path):
    with served(GUNICORN, services.environment(), tmp_path) as server, ThreadPoolExecutor() as pool:
        with row_locked(services, 13):
            orders = pool.submit(together, server, [order(13)])
            assert eventually(lambda: waiting(database) == 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
        assert orders.result()[0] == [201]
        assert server.process.wait(PATIENCE) == 0


def test_quart_overlaps_waits(tmp_path):
    with served(QUART, {}, tmp_path) as server:
        assert httpx.get(server.url, trust_env=False).json()["step"] == "step02_gevent"
        answer = httpx.get(f"{server.url}/async", trust_env=False).json()
        assert answer == {"message": "This is an asynchronous API response!"}
        statuses, seconds = together(server, [ASYNC] * 20)
    assert statuses == [200] * 20
    assert seconds < 6 * SUPPLIER


def served(target, environment, folder):
    """The target as the bench starts it, with two workers and a supplier that takes long."""
    settings = {"SUPPLIER_DELAY": str(SUPPLIER), "WORKERS": "2"}
    return target.server({**environment, **settings}, folder / "output.log")


def together(server, requests):
    """All requests at once; returns their statuses and the seconds for all."""

    async def send():
        async def one(method, path, json):
            async with session.request(method, path, json=json) as reply:
                await reply.read()
                return reply.status

        async with aiohttp.ClientSession(
            server.url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        ) as session:
            started = time.monotonic()
            statuses = await asyncio.gather(*(one(*request) for request in requests))
            return statuses, time.monotonic() - started

    return asyncio.run(send())


def order(product_id):
    return ("POST", "/orders", {"product_id": product_id, "quantity": 1})


def waiting(database):
    """How many backends wait for a lock."""
    database.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return database.fetchone()[0]
