"""Which services a learner uses: the workshop's own, or those that the environment names."""

import os
from pathlib import Path

import psycopg2
from dotenv import dotenv_values

from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.services import database
from workshop.services.daemon import Log
from workshop.services.services import POSTGRES_PORT, REDIS_PORT, Services
from workshop.urls import libpq_url, sqlalchemy_url

TABLES = """
SELECT array_agg(relname::text) FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace = current_schema()::regnamespace
"""
OURS = {"products", "orders", "users", "shop_version"}


def setting(name: str, default: str = "", root: Path = ROOT) -> str:
    """The value of a setting: from the environment, else from the file .env at the root."""
    return os.environ.get(name) or dotenv_values(root / ".env").get(name) or default


def shared(state: Path = STATE) -> "Services | External":
    """The learner's services.

    `POSTGRES_PORT` and `REDIS_PORT` move the workshop's own servers; `DATABASE_URL` and
    `REDIS_URL` each put another server in the place of ours. A shell that has taken over what
    `make services` prints names our own, which then are ours as before. Raises WorkshopError for a
    setting that makes no sense.
    """
    own = Services(state, _port("POSTGRES_PORT", POSTGRES_PORT), _port("REDIS_PORT", REDIS_PORT))
    ours = own.environment()
    named = {"DATABASE_URL": _database_url(), "REDIS_URL": setting("REDIS_URL")}
    others = {name: "" if url == ours[name] else url for name, url in named.items()}
    if any(others.values()):
        return External(own, others["DATABASE_URL"], others["REDIS_URL"])
    return own


class External:
    """Services that someone else runs, read like `Services`; what is not named is our own."""

    def __init__(self, own: Services, database_url: str = "", redis_url: str = ""):
        self.own = own
        self.database_url = database_url
        self.redis_url = redis_url

    def environment(self) -> dict[str, str]:
        """What an app needs to reach both servers."""
        own = self.own
        return {
            "DATABASE_URL": self.database_url or sqlalchemy_url(own.postgres.url()),
            "REDIS_URL": self.redis_url or own.valkey.url,
        }

    def start(self, log: Log = print) -> None:
        """See that the servers answer; fill an empty database, touch no other.

        Raises WorkshopError when a server does not answer or the database is somebody else's.
        """
        if self.database_url:
            self._check_database(log)
        else:
            self.own.start_postgres(log)
        if self.redis_url:
            self._check_redis()
        else:
            self.own.start_valkey(log)

    def stop(self, mode: str = "fast") -> None:
        """Stop our own part, if any; never a server of somebody else."""
        self.own.stop(mode)

    def fresh_database(self) -> None:
        """Raises WorkshopError: rows on a server that is not ours are not thrown away."""
        raise WorkshopError(
            "The database that DATABASE_URL names belongs to somebody else: it isn't reset."
        )

    def named(self) -> list[str]:
        """The settings that name a server."""
        return [name for name in ("DATABASE_URL", "REDIS_URL") if getattr(self, name.lower())]

    def silent(self) -> list[str]:
        """Those of them whose server doesn't answer. This only looks, and changes nothing."""
        looks = {"DATABASE_URL": self._tables, "REDIS_URL": self._check_redis}
        found = []
        for name in self.named():
            try:
                looks[name]()
            except WorkshopError:
                found.append(name)
        return found

    def _tables(self) -> set[str]:
        """The names of the tables in the named database."""
        try:
            with database.session(libpq_url(self.database_url)) as cursor:
                cursor.execute(TABLES)
                [[names]] = cursor.fetchall()
        except psycopg2.Error as error:
            reason = str(error).strip().splitlines()[-1]
            raise WorkshopError(
                f"The database that DATABASE_URL names does not answer ({reason}): start it, "
                "or unset DATABASE_URL to use the workshop's own."
            ) from error
        return set(names or ()) - {"pg_stat_statements", "pg_stat_statements_info"}

    def _check_database(self, log: Log) -> None:
        url = libpq_url(self.database_url)
        tables = self._tables()
        if tables >= OURS:
            self._check_version(url)
            return
        if tables:
            raise WorkshopError(
                "The database that DATABASE_URL names holds tables that are not the workshop's: "
                "name an empty one, which is then filled."
            )
        log("Filling the database that DATABASE_URL names …")
        with database.plain_errors(self.own.state):
            database.load(url)

    def _check_version(self, url: str) -> None:
        with database.session(url) as cursor:
            cursor.execute("SELECT version FROM shop_version")
            if cursor.fetchone() != (database.VERSION,):
                raise WorkshopError(
                    "The database that DATABASE_URL names was filled by another version of the "
                    "workshop: name an empty one, which is then filled."
                )

    def _check_redis(self) -> None:
        import redis  # slow to import, and needed here alone

        try:
            with redis.Redis.from_url(self.redis_url, socket_timeout=5) as client:
                client.ping()
        except (redis.RedisError, ValueError) as error:
            raise WorkshopError(
                f"The server that REDIS_URL names does not answer ({error}): start it, or unset "
                "REDIS_URL to use the workshop's own."
            ) from error


def _database_url() -> str:
    url = setting("DATABASE_URL")
    try:
        return sqlalchemy_url(url) if url else ""
    except ValueError as error:
        raise WorkshopError(f"DATABASE_URL {error}.") from error


def _port(name: str, default: int) -> int:
    value = setting(name, str(default))
    if not value.isdecimal() or not 1024 <= int(value) <= 65535:
        raise WorkshopError(f"{name} is {value!r}: set it to a number from 1024 to 65535.")
    return int(value)
