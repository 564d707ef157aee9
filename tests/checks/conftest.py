"""Fixtures of the checks, which run against one target: workshop/checking/lane.py says which."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import psycopg2
import pytest
import redis as redis_client
from blackbox import JWT_SECRET, PATIENCE, SUPPLIER, App, NotStarted, Remote
from locks import row_locked, table_locked
from redis_proxy import redis_url

from workshop.checking.lane import LANE
from workshop.errors import WorkshopError
from workshop.server import Server, last_traceback

OUTPUT = 16 * 2**20  # bytes that an app may print
# A clock that isn't UTC, in a form that needs no files of time zones: 5 h 45 min ahead of it.
TIME_ZONE = "CHK-5:45"
POOL_TIMEOUT = PATIENCE - 5  # seconds: a client still hears that the pool was full
USUAL = {"SUPPLIER_DELAY": SUPPLIER}  # told apart from settings to obey


@pytest.fixture(scope="session")
def lane(pytestconfig):
    """What the checks run against."""
    return pytestconfig.stash[LANE]


@pytest.fixture(scope="session")
def services(lane):
    """PostgreSQL and Valkey of the checks' own, with a pristine shop."""
    if lane.target.url:
        pytest.skip("needs the app's PostgreSQL and Redis, and only its URL is known")
    return lane.services()


@pytest.fixture(scope="session")
def shared():
    """The apps that several checks use, by their settings."""
    return {}


@pytest.fixture
def dead_connections_met(shared, product):
    """For a check that stops PostgreSQL: afterwards, no other check meets dead connections."""
    yield
    for app in shared.values():
        for _ in range(3):  # One after another, so that no pool opens more than it has.
            app.get(f"/products/{product['id']}")


@pytest.fixture(scope="session")
def launch(lane, request, shared, tmp_path_factory):
    """launch(SUPPLIER_DELAY=0.5): the app with these settings; fresh=True: not a shared one."""
    if lane.target.url:
        return partial(_reach, lane)
    services = request.getfixturevalue("services")
    stack = ExitStack()
    request.addfinalizer(stack.close)

    def start(fresh: bool = False, **settings) -> App:
        key = frozenset(settings.items())
        if not fresh and key in shared:
            return shared[key]
        log = tmp_path_factory.mktemp("app") / "output.log"
        server = lane.target.server(_environment(lane, services, settings), log, largest=OUTPUT)
        try:
            server.start()
        except WorkshopError as error:
            failure = _not_started(server, error)
            if settings:  # or does it not start at all?
                start()
            elif frozenset() not in shared:
                lane.send(crash=failure)
            raise NotStarted(failure["message"]) from None
        stack.callback(_end, lane, server)
        lane.servers.append(server)
        app = App(server, lane.step)
        if not fresh:
            shared[key] = app
        return app

    return start


def _reach(lane, fresh: bool = False, **settings) -> App:
    """The app that runs at the target's URL, for a check that needs no settings of its own."""
    app = App(Remote(lane.target.url), lane.step)
    if fresh or not settings.items() <= USUAL.items():
        app.needs_settings()
    return app


def _not_started(server: Server, error: WorkshopError) -> dict:
    """What a check says of an app that does not start."""
    return {
        "message": f"did: started {server.folder.name}/{server.command[-1]}\n"
        f"got: {error}\n"
        f"expected: an app that answers on the port in PORT",
        "trace": last_traceback(server.output(), server.folder),
    }


def _environment(lane, services, settings: dict) -> dict[str, str]:
    """What an app is started with; a setting of None is left out."""
    # A busy machine may fill a pool for longer than its 2 s: requests wait unless a check sets it.
    given = {"POOL_TIMEOUT": POOL_TIMEOUT, "TZ": TIME_ZONE} | settings
    if lane.step.has_login:
        given = {"JWT_SECRET": JWT_SECRET} | given
    usual = services.environment() | {"REDIS_URL": redis_url(services)}
    return usual | {k: str(v) for k, v in given.items() if v is not None}


def _end(lane, server: Server) -> None:
    server.kill()  # a check of how it ends has done so before; this is sooner
    if server.log.stat().st_size >= OUTPUT // 2:  # shells differ in the unit of their limit
        lane.send(warning=f"printed {OUTPUT // 2**21} MB or more")


@pytest.fixture
def try_to_start(lane, services, tmp_path):
    """try_to_start(JWT_SECRET="short"): whether the app starts so, and all that it prints."""

    def attempt(**settings) -> tuple[bool, str]:
        environment = _environment(lane, services, settings)
        server = lane.target.server(environment, tmp_path / "output.log")
        try:
            server.start()
        except WorkshopError:
            return False, server.output()
        server.stop()
        return True, server.output()

    return attempt


@pytest.fixture(autouse=True)
def nothing_cached(lane, request):
    """Empty Redis before each check, so that none meets the report or the counts of another."""
    if not lane.target.url:
        with suppress(redis_client.RedisError):  # the check before may have left it stopped
            request.getfixturevalue("redis").flushall()


@pytest.fixture
def app(launch):
    """The app with its own defaults."""
    return launch()


class Database:
    """PostgreSQL seen from outside, on a connection that is not counted."""

    def __init__(self, url: str):
        self.connection = psycopg2.connect(url, application_name="checks")
        self.connection.autocommit = True

    def alive(self) -> bool:
        try:
            return self.value("SELECT 1") == 1
        except psycopg2.Error:
            return False

    def query(self, sql: str, *values) -> list[tuple]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *values):
        return self.query(sql, *values)[0][0]

    def backends(self) -> list[int]:
        """The process ids that PostgreSQL runs for everybody else on this database."""
        rows = self.query(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND application_name <> 'checks'"
        )
        return [pid for (pid,) in rows]

    def calls(self, like: str) -> int:
        """How often statements of this form (SQL LIKE) have run since the last reset."""
        return self.value(
            "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements"
            " WHERE query ILIKE %s AND query NOT ILIKE %s",
            like,
            "%pg_stat_statements%",
        )

    def cost(self, like: str, action: Callable) -> tuple[Any, int, int]:
        """What the action gives, and how many statements of this form (SQL LIKE) it took, and rows.

        Counts the statements that have run meanwhile, and the rows that they gave or changed.
        """
        count = (
            "SELECT coalesce(sum(calls), 0)::int, coalesce(sum(rows), 0)::int"
            " FROM pg_stat_statements WHERE query ILIKE %s AND query NOT ILIKE %s"
        )
        values = (like, "%pg_stat_statements%")
        before = self.query(count, *values)[0]
        result = action()
        after = self.query(count, *values)[0]
        return result, after[0] - before[0], after[1] - before[1]

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(scope="session")
def database(services):
    """Gives a connection: the one of the check before, unless PostgreSQL has ended it."""
    kept: list[Database] = []

    def connect() -> Database:
        if not (kept and kept[-1].alive()):
            # PostgreSQL keeps places for its superuser: an app that takes all others stops us not.
            kept.append(Database(services.postgres.admin("shop")))
        return kept[-1]

    yield connect
    for database in kept:
        database.close()


@pytest.fixture
def db(database):
    return database()


@pytest.fixture
def locked(services):
    """with locked(7): no other transaction can change product 7 until the block ends."""
    return partial(row_locked, services)


@pytest.fixture
def orders_locked(services):
    """with orders_locked(): no other transaction can use the orders until the block ends."""
    return partial(table_locked, services, "orders")


@pytest.fixture(scope="session")
def redis(services):
    with redis_client.Redis.from_url(redis_url(services)) as client:
        yield client


@pytest.fixture
def product(db):
    """A product that no other check uses, with 1,000 items in stock; its row as a dict."""
    product.next = getattr(product, "next", 100) + 1
    db.query("UPDATE products SET stock = 1000 WHERE id = %s", product.next)
    columns = ("id", "name", "category", "price_cents", "stock")
    row = db.query(f"SELECT {', '.join(columns)} FROM products WHERE id = %s", product.next)
    return dict(zip(columns, row[0], strict=True))
