"""Clients that repeat their orders until they are answered, while what they depend on breaks.

    export PYTHONPATH=.
    .venv/bin/python tests/tooling/chaos.py --seconds 60 --connections 100 --server gunicorn

Each client orders with an Idempotency-Key, and repeats the request after a 503 or where no answer
comes. Meanwhile PostgreSQL is stopped, its connections are ended, and the app is killed; all of
them come back.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg2

from workshop.server import Server
from workshop.services import private
from workshop.services.daemon import listening
from workshop.steps import step

PRODUCTS = range(301, 331)
ALICE = {"username": "alice", "password": "wonderland"}
ARGUMENTS = {"pywsgi": (), "gunicorn": ("-m", "gunicorn")}
PAUSE = 0.02  # seconds before a client asks again
IMPATIENCE = 5  # seconds until a client gives up one request, and repeats it
RECOVERY = 60  # seconds after the last fault in which every order must be answered


@dataclass
class Found:
    """What the clients were told, and what PostgreSQL holds at the end."""

    answers: Counter = field(default_factory=Counter)  # statuses, or names of errors
    faults: Counter = field(default_factory=Counter)
    told: dict[str, tuple] = field(default_factory=dict)  # key: (status, body) of its last answer
    contradictions: list[str] = field(default_factory=list)  # keys answered with two orders
    kept: dict[str, list[tuple]] = field(default_factory=dict)  # key: (id, product, quantity)
    stock_before: dict[int, int] = field(default_factory=dict)
    stock_after: dict[int, int] = field(default_factory=dict)
    output: str = ""

    def problems(self) -> list[str]:
        """Everything that must not have happened, in sentences."""
        allowed = {201, 409, 503}
        wrong = [status for status in self.answers if isinstance(status, int)]
        found = [f"{self.answers[s]} answers of {s}" for s in wrong if s not in allowed]
        found += [f"{key} was answered with two orders" for key in self.contradictions]
        for key, (status, body) in self.told.items():
            ids = [id for id, *_ in self.kept.get(key, [])]
            wanted = [body["id"]] if status == 201 else []
            if ids != wanted:
                found.append(f"{key} was answered {status} with orders {wanted}, kept are {ids}")
        found += [f"{key} was never answered" for key in self.kept.keys() - self.told.keys()]
        sold = Counter()
        for rows in self.kept.values():
            for _, product, quantity in rows:
                sold[product] += quantity
        for product, before in self.stock_before.items():
            left = self.stock_after[product]
            if left != before - sold[product] or left < 0:
                found.append(f"{left} of {before} items of {product} left, {sold[product]} sold")
        return found + ["a traceback in the output"] * ("Traceback" in self.output)


class Chaos:
    """One run: `connections` clients for `seconds` against step 5 on a server."""

    def __init__(self, services, server: Server, seconds: float, connections: int, seed: int = 1):
        self.services, self.server = services, server
        self.seconds, self.connections = seconds, connections
        self.choose = random.Random(seed)
        self.found = Found()

    def run(self) -> Found:
        found = self.found
        found.stock_before = self._stock()
        asyncio.run(self._run())
        rows = self._query(
            "SELECT idempotency_key, id, product_id, quantity FROM orders"
            " WHERE idempotency_key IS NOT NULL ORDER BY id"
        )
        for key, *order in rows:
            found.kept.setdefault(key, []).append(tuple(order))
        found.stock_after = self._stock()
        found.output += self.server.output()
        return found

    async def _run(self):
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=IMPATIENCE)
        async with aiohttp.ClientSession(
            self.server.url, connector=connector, timeout=timeout
        ) as self.session:
            async with self.session.post("/login", json=ALICE) as answer:
                self.token = (await answer.json())["token"]
            self.end = time.monotonic() + self.seconds
            faults = asyncio.to_thread(self._break_things)
            await asyncio.gather(faults, *(self._client(n) for n in range(self.connections)))

    async def _client(self, number: int):
        choose = random.Random(number)
        while time.monotonic() < self.end:
            key = str(uuid.UUID(int=choose.getrandbits(128)))
            order = {"product_id": choose.choice(PRODUCTS), "quantity": choose.randint(1, 3)}
            answer = await self._order_until_answered(key, order)
            if answer and answer[0] == 201 and choose.random() < 0.2:  # once more, for no reason
                again = await self._order_until_answered(key, order)
                if again and again != answer:
                    self.found.contradictions.append(key)

    async def _order_until_answered(self, key: str, order: dict):
        while time.monotonic() < self.end + RECOVERY:
            status, body = await self._order(key, order)
            self.found.answers[status] += 1
            if isinstance(status, int) and status != 503:
                self.found.told[key] = status, body
                return status, body
            await asyncio.sleep(PAUSE)
        return None

    async def _order(self, key: str, order: dict):
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        try:
            async with self.session.post("/orders", json=order, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__, None

    def _break_things(self):
        """Each kind of fault in turn, in an order that the seed decides, until the time is over."""
        faults = [self._stop_postgres, self._crash_postgres, self._end_connections, self._kill_app]
        while time.monotonic() < self.end:
            for fault in self.choose.sample(faults, len(faults)):
                time.sleep(self.choose.uniform(0.3, 0.9))
                fault()
                self.found.faults[fault.__name__.strip("_")] += 1

    def _stop_postgres(self, mode: str = "fast"):
        self.services.postgres.stop(mode)
        time.sleep(self.choose.uniform(0, 0.3))
        self.services.postgres.start()

    def _crash_postgres(self):
        self._stop_postgres("immediate")

    def _end_connections(self):
        """Several times within a moment, so that orders are met in every state."""
        for _ in range(10):
            self._query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'workshop' AND backend_type = 'client backend'"
            )
            time.sleep(0.03)

    def _kill_app(self):
        """SIGKILL to all its processes; the same port again."""
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        while listening(self.server.port):  # A worker of gunicorn may end after its parent.
            time.sleep(0.02)
        self.found.output += self.server.output()  # The next start begins a new file.
        self.server.start()

    def _stock(self) -> dict[int, int]:
        return dict(self._query("SELECT id, stock FROM products WHERE id = ANY(%s)", [*PRODUCTS]))

    def _query(self, sql: str, *values) -> list[tuple]:
        url = self.services.postgres.admin("shop")
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()


def run(folder: Path, seconds: float, connections: int, server: str = "pywsgi") -> Found:
    """Start what is needed with the output in `folder`, run, and stop it again."""
    with private() as services:
        settings = {"JWT_SECRET": "s" * 32, "WORKERS": "2"}
        app = Server(
            step(5).path,
            services.environment() | settings,
            folder / "output.log",
            arguments=ARGUMENTS[server],
        )
        with app:
            return Chaos(services, app, seconds, connections).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--server", choices=ARGUMENTS, default="pywsgi")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), given.seconds, given.connections, given.server)
    for title, counts in (("faults", found.faults), ("answers", found.answers)):
        print(f"{title}: " + ", ".join(f"{n:,} × {what}" for what, n in counts.most_common()))
    orders = sum(map(len, found.kept.values()))
    print(f"{len(found.told):,} keys answered, {orders:,} orders kept")
    problems = found.problems()
    print("\n".join(problems) or "each key has its order, once; the stock adds up")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
