"""Step 5 under mixed load at 100 connections, PostgreSQL and Redis stopped and started twice.

FAULTS_SECONDS=60 runs it for a minute; -s shows the counts.
"""

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import closing

import aiohttp
import psycopg2
import pytest

from workshop.server import Server
from workshop.services import private
from workshop.steps import step

SECONDS = float(os.environ.get("FAULTS_SECONDS", "14"))
CLIENTS = 100
PRODUCTS = range(201, 241)
ALICE = {"username": "alice", "password": "wonderland"}
ADMIN = {"username": "admin", "password": "password"}
PAUSE = 0.1  # seconds between an answer and the client's next request
PATIENCE = 60  # seconds for any answer, and for all to work again


@pytest.fixture(scope="module")
def services():
    with private() as own:
        yield own


@pytest.fixture(scope="module")
def load(services, tmp_path_factory):
    """The load, once it is over, and the server, which still runs."""
    log = tmp_path_factory.mktemp("faults") / "output.log"
    settings = {"JWT_SECRET": "s" * 32, "SUPPLIER_DELAY": "0.02", "LOGIN_ATTEMPTS": "1000"}
    with Server(step(5).path, services.environment() | settings, log) as server:
        load = Load(server)
        load.stock, load.last_order = stock(services), last_order(services)
        asyncio.run(load.run(services))
        print("\n" + "\n".join(f"{n:7,} × {what}" for what, n in sorted(load.counts.items())))
        yield load


class Load:
    """Clients that ask one request after another, and what they were answered."""

    def __init__(self, server):
        self.server = server
        self.counts = Counter()  # "POST /orders 201": 17
        self.placed = []  # the ids in the answers of 201
        self.unclear = 0  # orders without an answer, or with a 503: placed or not
        self.placed_at = 0.0  # when the last order was placed
        self.started_at = float("inf")  # when the last service was started again

    async def run(self, services):
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(
            self.server.url, connector=connector, timeout=timeout
        ) as self.session:
            async with self.session.post("/login", json=ALICE) as answer:
                token = (await answer.json())["token"]
            self.alice = {"Authorization": f"Bearer {token}"}
            self.end = time.monotonic() + SECONDS
            faults = asyncio.to_thread(self.faults, services)
            await asyncio.gather(faults, *(self.client(seed) for seed in range(CLIENTS)))

    def faults(self, services):
        """Each service away twice, for a twelfth of the time, PostgreSQL once without a word."""
        away = SECONDS / 12
        time.sleep(away)
        for mode in ("fast", "immediate"):
            for stop, start in (
                (services.valkey.stop, services.valkey.start),
                (lambda mode=mode: services.postgres.stop(mode), services.postgres.start),
            ):
                stop()
                time.sleep(away)
                start()
                last = time.monotonic()
                time.sleep(away)
        self.started_at = last

    async def client(self, number):
        """One of ten kinds of client; each asks the same again and again."""
        choose, kind = random.Random(number), number % 10
        while time.monotonic() < self.end or self.waits_for_recovery():
            await self.request(kind, choose)
            await asyncio.sleep(PAUSE)

    def waits_for_recovery(self):
        """On a slow machine the last start comes after the end."""
        return self.placed_at < self.started_at and time.monotonic() < self.end + PATIENCE

    async def request(self, kind, choose):
        """One request; returns its status, or the name of the error where no answer came."""
        product = choose.choice(PRODUCTS)
        if kind < 3:
            return await self.order(product, choose.randint(1, 3))
        if kind < 5:
            return await self.ask("GET", "/products/<id>", f"/products/{product}")
        if kind == 5:
            return await self.ask("GET", "/quote/<id>", f"/quote/{product}")
        if kind == 6 and self.placed:
            path = f"/orders/{choose.choice(self.placed)}"
            return await self.ask("GET", "/orders/<id>", path, headers=self.alice)
        if kind == 7 and choose.random() < 0.02:
            return await self.ask("POST", "/login", json=ADMIN)
        if kind == 8:
            return await self.ask("GET", "/data")
        return await self.ask("GET", "/me", headers=self.alice)

    async def order(self, product, quantity):
        body = {"product_id": product, "quantity": quantity}
        status = await self.ask("POST", "/orders", json=body, headers=self.alice)
        if status not in (201, 409):
            self.unclear += 1
        return status

    async def ask(self, method, name, path=None, **options):
        try:
            async with self.session.request(method, path or name, **options) as answer:
                body = await answer.json()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            status = type(error).__name__
        self.counts[f"{method} {name} {status}"] += 1
        if status == 201:
            self.placed.append(body["id"])
            self.placed_at = time.monotonic()
        return status


def test_no_answer_is_a_500_and_none_is_missing(load):
    statuses = {what.split(" ", 2)[2] for what in load.counts}
    assert statuses <= {"200", "201", "409", "503"}
    assert "Traceback" not in load.server.output()


def test_reports_come_also_without_redis(load):
    """A 503 is PostgreSQL's: Redis was away as long, and products need no Redis."""
    data = share_of_503(load.counts, "GET /data")
    assert data < 2 * share_of_503(load.counts, "GET /products/<id>") + 0.05


def test_all_recovers_without_a_restart(load):
    assert load.placed_at > load.started_at
    assert load.server.process.poll() is None


def test_no_order_is_lost_or_doubled(load, services):
    """Those answered 201 are there, once each; more are there only where the answer was unclear."""
    rows = query(services, "SELECT id FROM orders WHERE id > %s", load.last_order)
    kept = [id for (id,) in rows]
    assert len(set(load.placed)) == len(load.placed)
    assert set(load.placed) <= set(kept)
    assert 0 <= len(kept) - len(load.placed) <= load.unclear
    print(f"\n{len(load.placed):,} orders answered 201, {load.unclear:,} unclear,", end=" ")
    print(f"{len(kept) - len(load.placed)} of these kept")


def test_stock_adds_up(load, services):
    rows = query(
        services,
        "SELECT product_id, sum(quantity)::int FROM orders WHERE id > %s GROUP BY product_id",
        load.last_order,
    )
    sold = dict(rows)
    assert stock(services) == {id: n - sold.get(id, 0) for id, n in load.stock.items()}
    assert min(stock(services).values()) >= 0


def share_of_503(counts, name):
    total = sum(n for what, n in counts.items() if what.startswith(name))
    return counts[f"{name} 503"] / total


def stock(services):
    """Pieces of each product."""
    return dict(query(services, "SELECT id, stock FROM products"))


def last_order(services):
    return query(services, "SELECT max(id) FROM orders")[0][0]


def query(services, sql, *values):
    with closing(psycopg2.connect(services.postgres.url())) as connection:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()
