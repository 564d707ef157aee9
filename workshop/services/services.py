"""The pair of servers with one state folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workshop.locks import locked, try_lock
from workshop.paths import STATE
from workshop.services import database
from workshop.services.daemon import Log, quiet
from workshop.services.postgres import Postgres
from workshop.services.valkey import Valkey
from workshop.urls import sqlalchemy_url

SCRAM_ITERATIONS = 4096  # PostgreSQL's default: 2 ms for each connection
# Outside of the ports that systems give to outgoing connections (from 32768 on Linux, from 49152 on
# macOS), and of those that free_port() gives.
POSTGRES_PORT = 19432
REDIS_PORT = 19379


class Services:
    """PostgreSQL and Valkey, their data and logs under the folder `state`.

    `durable=False` is for data that can be made again: faster, lost when the machine crashes.
    The attribute `scram_iterations`, how often a client hashes the password to connect, holds from
    the next `fresh_database`.
    """

    def __init__(
        self,
        state: Path = STATE,
        postgres_port: int = POSTGRES_PORT,
        redis_port: int = REDIS_PORT,
        durable: bool = True,
    ):
        self.state = Path(state).absolute()
        self.scram_iterations = SCRAM_ITERATIONS
        self.postgres = Postgres(self.state, postgres_port, durable)
        self.valkey = Valkey(self.state, redis_port)

    def start(self, log: Log = print) -> None:
        """Start what does not run and fill what is not filled; progress goes to `log(text)`.

        Safe to call at any time and from several processes at once. Raises WorkshopError.
        """
        self.start_postgres(log)
        self.start_valkey(log)

    def start_postgres(self, log: Log = print) -> None:
        with self._locked(log):
            if not self.postgres.exists():
                log("Creating the folder of the databases (only once) …")
                self.postgres.create()
            if not self.postgres.running():
                log(f"Starting PostgreSQL on port {self.postgres.port} …")
                self.postgres.start(log)
            database.ensure(self.postgres, log)

    def start_valkey(self, log: Log = print) -> None:
        with self._locked(log):
            self.valkey.folder.mkdir(parents=True, exist_ok=True)
            if not self.valkey.running():
                log(f"Starting Valkey on port {self.valkey.port} …")
                self.valkey.start(log)

    def stop(self, mode: str = "fast") -> None:
        """Stop both servers; `mode` is PostgreSQL's: "smart", "fast" or "immediate".

        Stops private servers in the same folder too, where their owner was killed.
        """
        if not self.state.exists():
            return
        stop_leftovers(self.state)
        with self._locked():
            self.valkey.stop()
            self.postgres.stop(mode)

    def environment(self) -> dict[str, str]:
        """What an app needs to reach both servers, once they have been started."""
        return {
            "DATABASE_URL": sqlalchemy_url(self.postgres.url()),
            "REDIS_URL": self.valkey.url,
        }

    def fresh_database(self) -> None:
        """Give `shop` its first rows again, drop what was cached, forget the query statistics.

        Clients that are connected to `shop` lose their connection.
        """
        with self._locked(), database.administration(self.postgres) as admin:
            database.store_password(admin, self.scram_iterations)
            database.clone(admin)
            self.valkey.call("FLUSHALL")

    @contextmanager
    def _locked(self, log: Log = quiet) -> Iterator[None]:
        """Keep other processes from starting or stopping the same servers meanwhile."""
        with database.plain_errors(self.state):
            waiting = "Waiting for another command that starts or stops the services …"
            with locked(self.state / "lock", lambda: log(waiting)):
                yield


def stop_leftovers(state: Path = STATE) -> None:
    """Stop the servers of private slots whose owner was killed."""
    for owner in (state / "private").glob("*/owner"):
        if lock := try_lock(owner):
            with lock:
                Services(owner.parent).stop("immediate")
