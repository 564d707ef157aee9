"""One connection of the load driver: a non-blocking socket, its request, the answer so far."""

import errno
import os
import selectors
import socket
import struct
from collections.abc import Sequence
from typing import Any

from workshop.measuring.http1 import CHUNKED, UNTIL_CLOSE, BadAnswer, Head, chunks_end, parse_head

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Answers often have the same head for a whole second, so each is parsed once.
heads: dict[tuple[str, bytes], Head] = {}


class ConnectionClosed(Exception):
    """The server closed the connection before the answer was whole."""


class Connection:
    """`busy` while a request is on its way; `fresh` until the connection has carried one answer.

    `index` is that of the kind of request on its way, `started_at` its intended start in
    nanoseconds. `unsent` are bytes that wait for the socket: all of a request while the connection
    is being made.
    """

    def __init__(self, selector: selectors.BaseSelector, address: Sequence[Any]):
        self.selector, self.address = selector, (address[0], address[1])
        self.sock: Any = None  # a socket.socket while there is a connection
        self.busy, self.fresh, self.retried = False, True, False
        self.index, self.method, self.request, self.started_at = 0, "GET", b"", 0
        self.unsent, self.buffer, self.position = b"", b"", 0
        self.head: Head | None = None

    def send(self) -> None:
        """Send `request`, over a new connection if there is none. Raises OSError."""
        self.busy, self.buffer, self.head = True, b"", None
        if self.sock is None:
            self._connect()
            return
        self._write(self.request)

    def receive(self) -> Head | None:
        """The head once the answer is whole. Raises OSError, ConnectionClosed, BadAnswer."""
        if self.unsent:
            error_number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error_number:
                raise OSError(error_number, os.strerror(error_number))
            unsent, self.unsent = self.unsent, b""
            self._write(unsent)
            if not self.unsent:
                self.selector.modify(self.sock, READ, self)
            return None
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return None
        head = self._read(data)
        if head:
            self.busy = self.fresh = self.retried = False
        return head

    def may_retry(self, error: Exception) -> bool:
        """A kept connection may close at any moment: an idempotent request then goes again, once.

        As Go's http.Transport does, after RFC 9112, section 9.3.1.
        """
        lost = isinstance(error, (ConnectionError, ConnectionClosed))
        kept = not self.fresh and not self.buffer
        self.retried = lost and kept and not self.retried and self.method in IDEMPOTENT
        return self.retried

    def close(self) -> None:
        """Close with a reset: thousands of closed connections would else hold their ports."""
        if self.sock is not None:
            self.selector.unregister(self.sock)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.sock.close()
        self.sock, self.busy, self.unsent, self.fresh = None, False, b"", True

    def _connect(self) -> None:
        self.unsent = self.request
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(self.sock, WRITE, self)
        error_number = self.sock.connect_ex(self.address)
        if error_number not in (0, errno.EINPROGRESS):
            raise OSError(error_number, os.strerror(error_number))

    def _write(self, raw: bytes) -> None:
        sent = self.sock.send(raw)
        if sent < len(raw):
            self.unsent = raw[sent:]
            self.selector.modify(self.sock, WRITE, self)

    def _read(self, data: bytes) -> Head | None:
        self.buffer = buffer = self.buffer + data if self.buffer else data
        while self.head is None or self.head.status < 200:  # 100 Continue: the real head follows
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._require_more(data)
                return None
            self.head = self._parse(buffer[: end + 4])
            self.position = self.head.size
            if self.head.status < 200:
                self.buffer = buffer = buffer[self.position :]
        head = self.head
        if head.length >= 0:
            whole = len(buffer) >= head.size + head.length
        elif head.length == CHUNKED:
            self.position, whole = chunks_end(buffer, self.position)
        else:
            whole = head.length == UNTIL_CLOSE and not data
        if whole:
            return head
        self._require_more(data)
        return None

    def _require_more(self, data: bytes) -> None:
        """Raises ConnectionClosed or BadAnswer where the answer will never be whole."""
        if not data:
            raise ConnectionClosed("before the answer was whole")
        if self.head is None and len(self.buffer) > 65536:
            raise BadAnswer("a head over 64 KiB")

    def _parse(self, raw: bytes) -> Head:
        head = heads.get((self.method, raw))
        if head is None:
            if len(heads) > 1000:
                heads.clear()
            head = heads[self.method, raw] = parse_head(raw, self.method)
        return head
