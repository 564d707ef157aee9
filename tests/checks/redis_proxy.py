"""A proxy between an app and Redis: it cuts the app off, or holds back what the app sends."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from postgres_proxy import Proxy, pass_on


class RedisProxy(Proxy):
    """Passes on what the app and Redis send each other, unless it is told otherwise."""

    def __init__(self, target: tuple[str, int]):
        self.is_cut = False
        self.open: list[socket.socket] = []
        self.held_words = b""
        self.has_held, self.may_pass = threading.Event(), threading.Event()
        super().__init__(target)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """The app can't reach Redis, which goes on with all that it holds, until the block ends."""
        self.is_cut = True
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            self.is_cut = False

    @contextmanager
    def hold_back(self, words: bytes) -> Iterator[threading.Event]:
        """Commands with these words reach Redis once the block ends; the event says: one is here.

        They reach it even where the app no longer waits for the answer, as they would on a network.
        """
        self.has_held.clear()
        self.may_pass.clear()
        self.held_words = words
        try:
            yield self.has_held
        finally:
            self.held_words = b""
            self.may_pass.set()

    def _connect(self, app: socket.socket) -> None:
        with app, suppress(OSError):
            if self.is_cut:
                return
            with socket.create_connection(self.target) as redis:
                self.open.append(app)
                way = [app, redis, self._hold]
                threading.Thread(target=pass_on, args=way, daemon=True).start()
                while data := redis.recv(65536):
                    app.sendall(data)
                app.shutdown(socket.SHUT_RDWR)

    def _hold(self, command: bytes) -> None:
        if self.held_words and self.held_words in command:
            self.has_held.set()
            self.may_pass.wait(10)


def redis_url(services, port: int = 0) -> str:
    """Where an app finds Redis, or a proxy at this port.

    Database 0 is the one that an app takes which doesn't read the whole of the URL.
    """
    url = services.valkey.url.removesuffix("/0") + "/3"
    return url.replace(f":{services.valkey.port}/", f":{port or services.valkey.port}/")
