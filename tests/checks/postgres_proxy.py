"""A proxy between an app and PostgreSQL: it breaks one connection, or holds back the reports."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial


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
        self.delay = 0.0
        self.url = ""  # the DATABASE_URL that leads through it
        threading.Thread(target=self._accept, daemon=True).start()

    def break_before(self, condition: Callable[[bytes], bool]) -> None:
        self.condition, self.reaches_the_app = condition, False

    def break_after(self, condition: Callable[[bytes], bool]) -> None:
        self.condition, self.reaches_the_app = condition, True

    def hold_reports_back(self, seconds: float) -> None:
        """PostgreSQL computes a report at once, but its result reaches the app so much later."""
        self.delay = seconds

    @property
    def has_broken(self) -> bool:
        """Whether the moment has come since it was chosen."""
        return self.condition is None

    def close(self) -> None:
        with suppress(OSError):  # It wakes the thread that accepts; macOS needs only the close.
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # The listener is closed at the end.
            while True:
                client = self.listener.accept()[0]
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, app: socket.socket) -> None:
        with app, suppress(OSError), socket.create_connection(self.target) as postgres:
            held_until = [0.0]
            way = [app, postgres, partial(self._note_report, held_until)]
            threading.Thread(target=pass_on, args=way, daemon=True).start()
            while data := postgres.recv(65536):
                time.sleep(max(0, held_until[0] - time.monotonic()))
                breaks = self._is_the_moment(data)
                if not breaks or self.reaches_the_app:
                    app.sendall(data)
                if breaks:
                    break
            app.shutdown(socket.SHUT_RDWR)  # This wakes the other thread, too.

    def _note_report(self, held_until: list[float], query: bytes) -> None:
        if self.delay and b"GROUP BY" in query.upper():
            held_until[0] = time.monotonic() + self.delay

    def _is_the_moment(self, data: bytes) -> bool:
        with self.lock:
            if self.condition is None or not self.condition(data):
                return False
            self.condition = None
            return True


def pass_on(source: socket.socket, target: socket.socket, note: Callable) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(services):
    """Yield a Proxy and the DATABASE_URL that leads through it."""
    proxy = Proxy(("127.0.0.1", services.postgres.port))
    url = services.environment()["DATABASE_URL"]
    try:
        proxy.url = url.replace(f":{services.postgres.port}/", f":{proxy.port}/")
        yield proxy, proxy.url
    finally:
        proxy.close()
