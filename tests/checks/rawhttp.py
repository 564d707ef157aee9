"""A client that writes bytes, for what no well-behaved client would send."""

import contextlib
import json
import re
import socket
import time
from dataclasses import dataclass

import httpx
from blackbox import PATIENCE

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: a"
HALF_A_BODY = (
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b'Content-Length: 40\r\n\r\n{"product_id": 7'
)
HALF_A_LONG_BODY = HALF_A_BODY.replace(b"40", b"4000")
PRIVATE = "tulip-4711"  # as a client's password might be


@dataclass
class Reply:
    """One answer on a connection that may carry several."""

    status: int
    headers: httpx.Headers
    body: bytes

    def has_message(self) -> bool:
        """Whether the body is JSON with a sentence in `message`."""
        try:
            message = json.loads(self.body)["message"]
        except (ValueError, TypeError, KeyError):
            return False
        return isinstance(message, str) and len(message) > 5


class Connection:
    """A connection to the app; it closes with the block."""

    def __init__(self, app, timeout: float = PATIENCE, small: bool = False):
        """`small`: the systems on both sides keep few bytes that nobody has read yet."""
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            with contextlib.suppress(OSError):  # The sender's buffer grows with its segments.
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", app.server.port))
        self.file = self.socket.makefile("rb")
        self.counted = 0
        self.heard = b""  # what `is_ended` read

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> "Connection":
        """Send, unless the server has hung up: its last answer may still be read."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)
        return self

    def finish_sending(self) -> "Connection":
        """Say that nothing more will come; answers can still be read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def reply(self) -> Reply | None:
        """The next answer; None where the server hangs up or stays silent."""
        try:
            status = re.match(rb"HTTP/1\.[01] (\d{3})", self.file.readline())
            if status is None:
                return None
            lines = iter(lambda: self.file.readline().rstrip(b"\r\n"), b"")
            fields = (line.partition(b":") for line in lines)
            headers = httpx.Headers([(name, value.strip()) for name, _, value in fields])
            body = b"" if status[1] < b"200" else self._body(headers)  # 100 only says: go on
            return Reply(int(status[1]), headers, body)
        except OSError:
            return None

    def replies(self) -> list[Reply]:
        """All answers until the server hangs up or stays silent."""
        return list(iter(self.reply, None))

    def count_replies(self, enough: int) -> None:
        """Count answers in `counted` as they come, until there are enough of them."""
        rest = b""
        with contextlib.suppress(OSError):
            while self.counted < enough and (data := self.socket.recv(65536)):
                data = rest + data
                self.counted += data.count(b"HTTP/1.1 ")
                rest = data[-8:]  # too short for one that has been counted

    def is_ended(self, seconds: float = 5) -> bool:
        """Whether the server hangs up within this time; `heard` keeps what it sends until then."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                data = self.socket.recv(65536)
                self.heard += data
                if not data:
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def _body(self, headers: httpx.Headers) -> bytes:
        if "chunked" in headers.get("Transfer-Encoding", ""):
            body = b""
            while length := int(self.file.readline().split(b";")[0], 16):
                body += self.file.read(length)
                self.file.readline()
            self.file.readline()
            return body
        length = headers.get("Content-Length")
        return self.file.read() if length is None else self.file.read(int(length))


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A POST with a JSON body, its length, and these header lines."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: a",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + body


def post_in_chunks(path: str, body: bytes, *headers: str) -> bytes:
    """The same with the body in one chunk; the coding's name is in capitals, which is allowed."""
    whole = post(path, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), *headers)
    return re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: Chunked", whole, count=1)


def get(*headers: bytes) -> bytes:
    """GET / with these header lines."""
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *headers, b"\r\n"])


def chunked(body: bytes) -> bytes:
    """GET / with a body that claims to be chunked."""
    return get(b"Transfer-Encoding: chunked") + body


# What a server must refuse before the app sees it: proxies and servers that read such a request
# differently disagree on where the next one begins (RFC 9112 sections 2.2, 3, 5 and 6).
MALFORMED_HEADS = {
    "two different Content-Lengths": get(b"Content-Length: 0", b"Content-Length: 5"),
    "Content-Length: 3_2": get(b"Content-Length: 3_2"),
    "Content-Length: +32": get(b"Content-Length: +32"),
    "Content-Length: -1": get(b"Content-Length: -1"),
    "Content-Length: 0x20": get(b"Content-Length: 0x20"),
    "Content-Length: 1, 2": get(b"Content-Length: 1, 2"),
    "Content-Length without a number": get(b"Content-Length: five"),
    "Transfer-Encoding: gzip": get(b"Transfer-Encoding: gzip"),
    "Transfer-Encoding: xchunked": get(b"Transfer-Encoding: xchunked"),
    "Transfer-Encoding: chunked, gzip": get(b"Transfer-Encoding: chunked, gzip"),
    "Transfer-Encoding: a no-break space and chunked": get(b"Transfer-Encoding: \xa0chunked"),
    "Content-Length: a next-line character and 0": get(b"Content-Length: \x850"),
    "lines that end with a bare LF": GET.replace(b"\r\n", b"\n"),
    "a space before the colon": get(b"Content-Length : 5"),
    "a header without a colon": get(b"Content-Length"),
    "a NUL in a header": get(b"X-Name: a\0b"),
    "a first line of one word": b"GET\r\nHost: a\r\n\r\n",
    "two Host headers": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a body where the first line belongs": f'{{"password": "{PRIVATE}"}}\r\n\r\n'.encode(),
    "a body where a header belongs": get(f'{{"password": "{PRIVATE}"}}'.encode()),
    "a password as its length": get(f"Content-Length: {PRIVATE}".encode()),
    "a password as its coding": get(f"Transfer-Encoding: {PRIVATE}".encode()),
    "bytes that are no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}

# A server may answer these, if the app doesn't need the body, but must hang up afterwards (sections
# 6.1 and 7.1).
MALFORMED_BODIES = {
    "a chunk of zz bytes": chunked(b"zz\r\nab\r\n0\r\n\r\n"),
    "a chunk of -1 bytes": chunked(b"-1\r\nab\r\n0\r\n\r\n"),
    "a chunk of 0x2 bytes": chunked(b"0x2\r\nab\r\n0\r\n\r\n"),
    "a chunk of 0_2 bytes": chunked(b"0_2\r\nab\r\n0\r\n\r\n"),
    "a chunk without a size": chunked(b"\r\nab\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunked(b"1\r\nab\r\n0\r\n\r\n"),
    "a chunk that ends in XX": chunked(b"2\r\nabXX0\r\n\r\n"),
    "Content-Length beside chunked": get(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "a chunked body under HTTP/1.0": chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
}

# Larger than a server should read, and the statuses that may say so.
TOO_LARGE = {
    "100,000 bytes": (post("/orders", b" " * 100_000), [413]),
    "100,000 bytes in chunks": (
        b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n%b\r\n" % (b" " * 1000) * 100,
        [413],
    ),
    "a URL of 20,000 bytes": (GET.replace(b"/", b"/" + b"a" * 20_000, 1), [414, 400]),
    "200 headers": (get(*[b"X-Filler: a"] * 200), [431, 400]),
    "a header of 100,000 bytes": (get(b"X-Filler: " + b"a" * 100_000), [431, 400]),
}

# Rare, but as RFC 9112 has it (sections 2.2 and 7.1), and another request behind it.
UNUSUAL = {
    "a chunk with an extension": chunked(b"2;a=b\r\nab\r\n0\r\n\r\n") + GET,
    "an empty line before it": b"\r\n" + GET + GET,
    "a trailer after the last chunk": chunked(b"2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n") + GET,
}
