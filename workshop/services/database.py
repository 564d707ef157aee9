"""The database `shop`: created, filled from shop.sql, checked for completeness, and reset.

Rows are loaded once into the database `shop_template`; `shop` is a copy of it, which PostgreSQL
makes in a fraction of the time, and whole or not at all.
"""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from workshop.errors import WorkshopError
from workshop.services.daemon import Log, disk_full

SHOP = (Path(__file__).parent / "shop.sql").read_text(encoding="utf-8")
VERSION = hashlib.sha256(SHOP.encode()).hexdigest()[:12]

# Written in the same transaction as the rows: where it is, the rows are.
MARK = "CREATE TABLE shop_version AS SELECT %s::text AS version"
# The API adds orders and changes stock; it deletes nothing. Fewer rows are a half-filled database.
COMPLETE = """
SELECT (SELECT array_agg(version) FROM shop_version) = ARRAY[%s]
   AND (SELECT count(*) FROM products WHERE id <= 5000) = 5000
   AND (SELECT count(*) FROM orders WHERE id <= 200000) = 200000
   AND (SELECT count(*) FROM users WHERE username IN ('admin', 'alice')) = 2
"""
ROLE = """
DO $$ BEGIN CREATE ROLE workshop; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER ROLE workshop LOGIN CREATEDB PASSWORD 'workshop';
GRANT pg_monitor, pg_signal_backend TO workshop;
"""
STATISTICS = """
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
GRANT EXECUTE ON FUNCTION pg_stat_statements_reset(oid, oid, bigint, boolean) TO workshop;
"""
# A template that is complete bears the version of its rows as a comment, and takes no connections.
TEMPLATE_VERSION = """
SELECT shobj_description(oid, 'pg_database') FROM pg_database
WHERE datname = 'shop_template' AND NOT datallowconn
"""
# Copying files beats copying through the write-ahead log for a database of this size.
CLONE = "CREATE DATABASE shop TEMPLATE shop_template OWNER workshop STRATEGY file_copy"


@contextmanager
def session(url: str, autocommit: bool = True) -> Iterator[Cursor]:
    """Yield a cursor on a connection of its own, closed at the end.

    Without `autocommit` all is one transaction, committed at the end unless an error is raised.
    """
    connection = psycopg2.connect(url, connect_timeout=10, application_name="workshop")
    try:
        connection.autocommit = autocommit
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    finally:
        connection.close()


@contextmanager
def administration(postgres) -> Iterator[Cursor]:
    """A session as superuser, one at a time.

    The server goes on with a statement whose client was killed: CREATE DATABASE then fails for the
    next client. The lock lasts until that statement has ended.
    """
    with session(postgres.admin()) as admin:
        admin.execute("SELECT pg_advisory_lock(19432)")
        yield admin


def complete(url: str) -> bool:
    """Whether the database at `url` exists and holds all the rows of this version of the shop."""
    try:
        with session(url) as cursor:
            cursor.execute(COMPLETE, [VERSION])
            [[is_complete]] = cursor.fetchall()
            return is_complete
    except (errors.UndefinedTable, errors.UndefinedColumn):
        return False
    except psycopg2.OperationalError as error:
        if "does not exist" in str(error) or "authentication failed" in str(error):
            return False
        raise


def load(url: str) -> None:
    """Fill an empty database with the shop, in one transaction.

    Raises psycopg2.Error; the database is then as empty as before.
    """
    with session(url, autocommit=False) as cursor:
        cursor.execute(SHOP)
        cursor.execute(MARK, [VERSION])
    with session(url) as cursor:  # so that no first reader pays for it
        cursor.execute("VACUUM products, users, orders")


def ensure(postgres, log: Log) -> None:
    """Make the role, the template and the database `shop`, as far as they are missing."""
    if complete(postgres.url()):
        return
    log("Filling the database shop: 5,000 products, 200,000 orders …")
    with administration(postgres) as admin:
        admin.execute(ROLE)
        admin.execute(STATISTICS)
        admin.execute(TEMPLATE_VERSION)
        if admin.fetchone() != (VERSION,):
            _make_template(postgres, admin)
        clone(admin)


def _make_template(postgres, admin) -> None:
    admin.execute("DROP DATABASE IF EXISTS shop_template WITH (FORCE)")
    admin.execute("CREATE DATABASE shop_template OWNER workshop TEMPLATE template0")
    with session(postgres.admin("shop_template")) as template:
        template.execute(STATISTICS)
    load(postgres.url("shop_template"))
    admin.execute("COMMENT ON DATABASE shop_template IS %s", [VERSION])
    admin.execute("ALTER DATABASE shop_template ALLOW_CONNECTIONS false")


def clone(admin) -> None:
    """Drop the database `shop`, clients and all, and copy it again from the template."""
    admin.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
    admin.execute(CLONE)
    admin.execute("SELECT pg_stat_statements_reset()")


def store_password(admin, scram_iterations: int) -> None:
    """Store the role's password hashed so many times: each client that connects does so again."""
    admin.execute("SET scram_iterations = %s", [scram_iterations])
    admin.execute("ALTER ROLE workshop PASSWORD 'workshop'")


@contextmanager
def plain_errors(folder: Path):
    """Turn what a full or forbidden disk, or a failing database, raises into one sentence."""
    try:
        yield
    except psycopg2.Error as error:
        message = str(error).strip()
        if disk_full(folder, message):
            raise WorkshopError(_full(folder)) from error
        first = next(iter(message.splitlines()), type(error).__name__)
        raise WorkshopError(f"PostgreSQL answered: {first}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkshopError(_full(folder)) from error
        raise WorkshopError(
            f"Cannot use {error.filename or folder} ({error.strerror}): check who owns it, or put "
            f"the clone where you may write; you may remove {folder}, because it is made again."
        ) from error


def _full(folder: Path) -> str:
    return f"The disk is full: the databases need about 300 MB in {folder}."
