"""What the two servers share: found by their working folder, started once, ended completely."""

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import psutil

from workshop.errors import WorkshopError
from workshop.locks import try_lock
from workshop.services.account import Account, account

HOST = "127.0.0.1"
START_SECONDS = 60  # a busy laptop that recovers after a crash
STOP_SECONDS = 20
KEPT = 90  # seconds for which a system may keep the port of a connection that has ended, and more
T = TypeVar("T")
Log = Callable[[str], None]


def quiet(text: str) -> None:
    """Log nothing."""


class Daemon(ABC):
    """A server whose processes have `folder` as working folder; it survives the terminal.

    The working folder distinguishes our server from any other: a number in a pid file may belong
    to another process after a reboot, a port to another server.
    """

    title = ""  # for sentences
    setting = ""  # the name of the setting with the port
    program: Path

    def __init__(self, folder: Path, log: Path, port: int):
        self.folder = folder
        self.log = log
        self.port = port

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server reads when it starts."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def ready(self, pid: int | None) -> bool:
        """Whether the process with this id serves clients on our port; None: no process runs."""

    def account(self) -> Account:
        return account(self.program, self.folder)

    def processes(self) -> list[psutil.Process]:
        """The server's processes, the first of them first; also those that outlived it."""
        found = in_folder(self.folder, {self.program.name, "setpriv"})
        pids = {process.pid for process in found}
        return sorted(found, key=lambda process: _parent(process) in pids)

    def pids(self) -> list[int]:
        """The process ids, the server's own first, then those of its children."""
        return [process.pid for process in self.processes()]

    def pid(self) -> int | None:
        """The server's process id, or None."""
        return next(iter(self.pids()), None)

    def running(self) -> bool:
        """Whether our server runs and is ready on its port; not while any of it is paused."""
        processes = self.processes()
        first = processes[0].pid if processes else None
        return self.ready(first) and not any(map(_paused, processes))

    def start(self, log: Log = quiet) -> None:
        """Start the server unless it runs; one on another port is restarted on this one.

        Raises WorkshopError when the port is taken or the server does not start.
        """
        if self._adopt():
            return
        self.end()
        if port_taken(self.port):
            self._await_port(log)
        start_of_log = self.log.stat().st_size if self.log.exists() else 0
        with self.claim() as claim:
            self.prepare()
            pid = launch(self.command(), self.folder, self.log, self.account(), claim)
        if not wait(lambda: self.ready(pid), while_alive=pid):
            text = self.log.read_bytes()[start_of_log:].decode(errors="replace")
            self.end()
            raise WorkshopError(self._reason(text))

    def pause(self) -> bool:
        """Let the server hang until the next start; whether it ran."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.Error):
                process.suspend()
        return bool(processes)

    def _adopt(self) -> bool:
        """Whether a server of ours already runs well, or comes up by itself, on our port."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.Error):
                process.resume()
        if not processes:
            return False
        pid = processes[0].pid
        wait(lambda: ports(pid), seconds=5, while_alive=pid)
        return ports(pid) == {self.port} and wait(lambda: self.ready(pid), while_alive=pid)

    def end(self, signals: tuple = (signal.SIGKILL,)) -> None:
        """Send the signals to the server in turn, until it is gone; then end what is left."""
        for number in signals:
            processes = self.processes()
            for process in processes:
                with suppress(psutil.Error):
                    process.resume()
            with suppress(psutil.Error, IndexError):
                processes[0].send_signal(number)
            wait(_all_gone(processes), STOP_SECONDS)
        while left := self.processes():
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            wait(_all_gone(left), 1)

    @contextmanager
    def claim(self):
        """Yield a locked file that the server inherits, and so keeps locked while it lives.

        It tells of a server that we cannot see, as one in a container that shares the clone.
        """
        path = self.folder.with_suffix(".claim")
        file = wait(lambda: try_lock(path), seconds=2)  # a server that ends lets go last of all
        if not file:
            raise WorkshopError(
                f"{self.title} already uses {self.folder}, in another container or for "
                "another user: stop it there first."
            )
        with file:
            yield file

    def _await_port(self, log: Log) -> None:
        """Wait for a port on which no program listens: an outgoing connection had it.

        Systems take the ports of outgoing connections from a range that may hold ours, and keep
        each for a minute after its connection has ended (TIME_WAIT). Raises WorkshopError.
        """
        if not listening(self.port):
            log(f"Waiting for port {self.port}, up to a minute: an old connection holds it …")
            if wait(lambda: not port_taken(self.port), KEPT):
                return
        raise WorkshopError(self._taken())

    def _taken(self) -> str:
        return (
            f"Port {self.port}, where {self.title} should listen, is taken by another program: "
            f"set {self.setting} to a free port, in the environment or for good in the file .env "
            "at the root."
        )

    def _reason(self, text: str) -> str:
        if disk_full(self.log.parent, text):
            return f"{self.title} did not start, because the disk is full: {self.log.parent}"
        if "ddress already in use" in text:
            return self._taken()
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        reason = next((line for line in lines if "FATAL" in line or "rror" in line), last)
        return f"{self.title} did not start ({reason.strip()}): more is in {self.log}"


def in_folder(folder: Path, names: set[str]) -> list[psutil.Process]:
    """The living processes with one of these names whose working folder is `folder`."""
    here = os.path.realpath(folder)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, a zombie, or another user's
            if process.cwd() == here and process.name() in names:  # a folder is quicker to read
                found.append(process)
    return found


def _paused(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it, which is slow.

    Raises WorkshopError when it isn't installed.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise WorkshopError(f"The package {name} is missing: remove .venv, then run make again.")
    return Path(spec.origin).parent


def launch(command: list, folder: Path, log: Path, account: Account, claim) -> int:
    """Start a command in a session of its own, output to `log`; return its process id.

    The shell between leaves it to the system's first process, which reaps it: no zombie stays
    under a long-lived notebook. The open file `claim` is handed on to it.
    """
    with log.open("ab") as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *account.prefix, *command],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=True,
            pass_fds=[claim.fileno()],
            **account.options,
        )
    return int(shell.stdout)


def write_secret(path: Path, text: str) -> None:
    """Replace the file by one with this text, which only its owner can read."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def random_password() -> str:
    return secrets.token_urlsafe(24)


def environment() -> dict[str, str]:
    """A plain environment: no PGDATA, PGOPTIONS or broken locale of the user's reaches a server."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def wait(
    ready: Callable[[], T], seconds: float = START_SECONDS, while_alive: int | None = None
) -> T:
    """Poll `ready` until it is true, the time is up, or the process is gone; its last value."""
    deadline = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > deadline or (while_alive and not alive(while_alive)):
            break
        time.sleep(0.01)
    return value


def living(process: psutil.Process) -> bool:
    """Whether the process is there and no zombie: in a container those may stay for long."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _all_gone(processes: list[psutil.Process]):
    return lambda: not any(living(process) for process in processes)


def alive(pid: int) -> bool:
    """The same for the process that has this id now."""
    try:
        return living(psutil.Process(pid))
    except psutil.Error:
        return False


def ports(pid: int) -> set[int]:
    """The TCP ports on which the process listens."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return set()
    return {item.laddr.port for item in connections if item.status == psutil.CONN_LISTEN}


def disk_full(folder: Path, message: str) -> bool:
    """Whether a failure is due to a full disk, by its message and by the space that is left."""
    if "No space left on device" in message or "wrote only" in message:
        return True
    return shutil.disk_usage(folder).free < 16 << 20  # a segment of PostgreSQL's log


def listening(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


def port_taken(port: int) -> bool:
    """Whether anything listens on, or is bound to, the port on the loopback address."""
    if listening(port):
        return True
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
