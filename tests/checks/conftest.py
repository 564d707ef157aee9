"""Fixtures of the checks, which run against one app folder: workshop/checking/ says which."""

import json
import os
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg2
import pytest
import redis as redis_client
from blackbox import JWT_SECRET, PATIENCE, App, CheckFailed
from locks import row_locked, table_locked

from workshop.errors import WorkshopError
from workshop.server import Server
from workshop.services import Services, private
from workshop.steps import step

STEP = step(int(os.environ["CHECK_STEP"]))
FOLDER = Path(os.environ["CHECK_APP"])
OUTPUT = 16 * 2**20  # bytes that an app may print
EVENTS = Connection(int(os.environ["CHECK_EVENTS"]), readable=False)


@pytest.fixture(scope="session")
def services():
    """PostgreSQL and Valkey of the checks' own, with a pristine shop."""
    if given := os.environ.get("CHECK_SERVICES"):
        yield Services(*json.loads(given), durable=False)
        return
    with private(say=lambda text: _send(say=text), scram_iterations=1) as own:
        yield own


@pytest.fixture(scope="session")
def _running(services, tmp_path_factory):
    """Starts the app with the settings given; apps with the same settings are shared."""
    with ExitStack() as stack:
        shared: dict[frozenset, App] = {}
        failures: list[CheckFailed] = []

        def launch(fresh: bool = False, **settings) -> App:
            key = frozenset(settings.items())
            if len(failures) > 1:  # it does not start at all: do not wait for that each time
                raise failures[-1]
            if not fresh and key in shared:
                return shared[key]
            env = _environment(services, settings)
            log = tmp_path_factory.mktemp("app") / "output.log"
            server = Server(FOLDER, env, log, largest=OUTPUT)
            try:
                server.start()
            except WorkshopError as error:
                failures.append(
                    CheckFailed(
                        f"did: started {FOLDER.name}/{server.command[-1]}\n"
                        f"got: {error}\n"
                        f"expected: an app that answers on the port in PORT"
                    )
                )
                raise failures[-1] from None
            stack.callback(_end, server)
            app = App(server, STEP)
            if not fresh:
                shared[key] = app
            return app

        yield launch


def _environment(services, settings: dict) -> dict[str, str]:
    """What an app is started with; a setting of None is left out."""
    # A busy machine may fill a pool for longer than its 2 s: requests wait unless a check sets it.
    given = {"POOL_TIMEOUT": PATIENCE} | settings
    if STEP.has_login:
        given = {"JWT_SECRET": JWT_SECRET} | given
    return services.environment() | {k: str(v) for k, v in given.items() if v is not None}


def _end(server: Server) -> None:
    server.kill()  # whoever checks how it ends does so before; this is sooner
    if server.log.stat().st_size >= OUTPUT // 2:  # shells differ in the unit of their limit
        _send(note=f"printed {OUTPUT // 2**21} MB or more")


@pytest.fixture
def launch(_running):
    """launch(SUPPLIER_DELAY=0.5): the app with these settings; fresh=True: not a shared one."""
    return _running


@pytest.fixture
def try_to_start(services, tmp_path):
    """try_to_start(JWT_SECRET="short"): whether the app starts so, and all that it prints."""

    def attempt(**settings) -> tuple[bool, str]:
        server = Server(FOLDER, _environment(services, settings), tmp_path / "output.log")
        try:
            server.start()
        except WorkshopError:
            return False, server.output()
        server.stop()
        return True, server.output()

    return attempt


@pytest.fixture
def app(launch):
    """The app with its own defaults."""
    return launch()


class Database:
    """PostgreSQL seen from outside, on a connection that is not counted."""

    def __init__(self, url: str):
        self.connection = psycopg2.connect(url.replace("+psycopg2", ""), application_name="checks")
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
    with redis_client.Redis.from_url(services.valkey.url) as client:
        yield client


@pytest.fixture
def product(db):
    """A product that no other check uses, with 1,000 pieces in stock; its row as a dict."""
    product.next = getattr(product, "next", 100) + 1
    db.query("UPDATE products SET stock = 1000 WHERE id = %s", product.next)
    columns = ("id", "name", "category", "price_cents", "stock")
    row = db.query(f"SELECT {', '.join(columns)} FROM products WHERE id = %s", product.next)
    return dict(zip(columns, row[0], strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Say each outcome to the runner, and keep tracebacks from the learner."""
    report = yield
    if report.failed and report.when != "teardown":
        failure = call.excinfo.value
        by_assertion = isinstance(failure, AssertionError)
        message = str(failure) if by_assertion else f"{type(failure).__name__}: {failure}"
        if not by_assertion:
            report.sections.append(("traceback", str(report.longrepr)))
        report.longrepr = message
        _tell(item, outcome="failed", message=message, by_assertion=by_assertion)
    elif report.when == "call":
        _tell(item, outcome="passed")
    return report


def _tell(item, **event) -> None:
    _send(check=_check(item), case=item.name, **event)


def _send(**event) -> None:
    EVENTS.send_bytes(json.dumps(event).encode())


def _check(item) -> str:
    return item.originalname.removeprefix("test_")


def pytest_runtest_setup(item):
    _tell(item, outcome="begins")


def pytest_collection_finish(session):
    _send(collected=[_check(item) for item in session.items])
