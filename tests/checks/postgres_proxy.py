"""A proxy between an app and PostgreSQL, which breaks one connection at a chosen moment."""

import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress


class Proxy:
    """Passes on what the app and PostgreSQL send each other, until it is told to break it off.

    The condition is called with all that PostgreSQL sends to the app; the first time that it is
    true, the connection ends: before these bytes reach the app, or just after them.
    """

    def __init__(self, target: tuple[str, int]):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.condition: Callable[[bytes], bool] | None = None
        self.reaches_the_app = False
        threading.Thread(target=self._accept, daemon=True).start()

    def break_before(self, condition: Callable[[bytes], bool]) -> None:
        self.condition, self.reaches_the_app = condition, False

    def break_after(self, condition: Callable[[bytes], bool]) -> None:
        self.condition, self.reaches_the_app = condition, True

    @property
    def has_broken(self) -> bool:
        """Whether the moment has come since it was chosen."""
        return self.condition is None

    def _accept(self) -> None:
        with suppress(OSError):  # The listener is closed at the end.
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, app: socket.socket) -> None:
        with app, suppress(OSError), socket.create_connection(self.target) as postgres:
            threading.Thread(target=_pass_on, args=[app, postgres], daemon=True).start()
            while data := postgres.recv(65536):
                breaks = self._is_the_moment(data)
                if not breaks or self.reaches_the_app:
                    app.sendall(data)
                if breaks:
                    break
            app.shutdown(socket.SHUT_RDWR)  # This wakes the other thread, too.

    def _is_the_moment(self, data: bytes) -> bool:
        with self.lock:
            if self.condition is None or not self.condition(data):
                return False
            self.condition = None
            return True


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(services):
    """Yield a Proxy and the DATABASE_URL that leads through it."""
    proxy = Proxy(("127.0.0.1", services.postgres.port))
    url = services.environment()["DATABASE_URL"]
    try:
        yield proxy, url.replace(f":{services.postgres.port}/", f":{proxy.port}/")
    finally:
        with suppress(OSError):  # It wakes the thread that accepts; macOS needs only the close.
            proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
