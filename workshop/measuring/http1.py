"""As much of HTTP/1.1 as a load driver needs: what to send, where an answer ends (RFC 9112)."""

import json as json_module
import random
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

UNTIL_CLOSE = -1
CHUNKED = -2
SEQUENCE_LENGTH = 4096  # requests are prepared and repeated: to draw each would cost time


class BadAnswer(Exception):
    """What came back is not HTTP."""


class Head(NamedTuple):
    """Sizes in bytes; `length`, of the body, may be CHUNKED or UNTIL_CLOSE."""

    status: int
    size: int
    length: int
    keep_alive: bool


def request_bytes(
    method: str, host: str, path: str, headers: dict[str, str], json: Any = None
) -> bytes:
    """One request as bytes; `json`, unless None, becomes the body."""
    lines = {"Host": host, "Accept": "*/*"} | headers
    body = b""
    if json is not None:
        body = json_module.dumps(json).encode()
        lines |= {"Content-Type": "application/json"}
    if body or method in ("POST", "PUT", "PATCH"):
        lines |= {"Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def request_sequence(job: dict[str, Any]) -> list[tuple[int, str, bytes]]:
    """The sequence to send: index of the request, method, bytes. The seed decides it."""
    draw = random.Random(job["seed"])
    requests = job["requests"]
    weights = [request["weight"] for request in requests]
    indexes = draw.choices(range(len(requests)), weights, k=SEQUENCE_LENGTH)
    return [(i, requests[i]["method"], _prepared(requests[i], job, draw)) for i in indexes]


def _prepared(request: dict[str, Any], job: dict[str, Any], draw: random.Random) -> bytes:
    path, body = request["path"], request["json"]
    if request["ids"]:
        number = str(draw.randint(*request["ids"]))
        path = path.replace("{id}", number)
        body = json_module.loads(json_module.dumps(body).replace('"{id}"', number))
    headers = job["headers"] | request["headers"]
    return request_bytes(request["method"], job["host"], path, headers, body)


def parse_head(raw: bytes, method: str) -> Head:
    """The head of an answer, `raw` being all of it with its empty line. Raises BadAnswer."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    try:
        version, status = first[:8], int(first[9:12])
        fields = {name.strip().lower(): value.strip() for name, value in _pairs(lines)}
        length = int(fields.get("content-length", UNTIL_CLOSE))
    except ValueError as error:
        raise BadAnswer(f"not an HTTP head: {raw[:40]!r}") from error
    if not version.startswith("HTTP/1."):
        raise BadAnswer(f"not an HTTP/1 status line: {first[:40]!r}")
    if "chunked" in fields.get("transfer-encoding", "").lower():
        length = CHUNKED
    if method == "HEAD" or status in (204, 304) or status < 200:
        length = 0
    connection = fields.get("connection", "").lower()
    keep = "keep-alive" in connection if version == "HTTP/1.0" else "close" not in connection
    return Head(status, len(raw), length, keep and length != UNTIL_CLOSE)


def _pairs(lines: Iterable[str]) -> Iterator[list[str]]:
    return (line.split(":", 1) for line in lines if line)


def chunks_end(buffer: bytes, at: int) -> tuple[int, bool]:
    """Walk over whole chunks from `at`: where it got to, and whether all chunks are there."""
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return at, False
        try:
            size = int(buffer[at:line].split(b";")[0], 16)
        except ValueError as error:
            raise BadAnswer(f"not a chunk: {buffer[at : at + 20]!r}") from error
        if size == 0:
            end = (
                line + 2 if buffer.startswith(b"\r\n", line + 2) else buffer.find(b"\r\n\r\n", line)
            )
            if end < 0 or len(buffer) < end + 2:
                return at, False
            return (end + 2 if end == line + 2 else end + 4), True
        if len(buffer) < line + 2 + size + 2:
            return at, False
        at = line + 2 + size + 2
