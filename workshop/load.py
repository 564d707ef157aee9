"""Drive a server with requests and tell what came back, honestly.

    await load("http://127.0.0.1:8002/async", connections=50, seconds=3)  # in a notebook
    load_sync("http://127.0.0.1:8002", [Request(path="/products/{id}", ids=(1, 5000))], rate=200)

The load is made by a process of its own (`workshop/measuring/driver.py`), so that neither a
notebook nor a bench is what is measured. Closed loop: every connection asks again as soon as it is
answered; for throughput. Open loop (`rate`): requests are due at fixed times whether or not the
server keeps up, and latency counts from when a request was due; for latency under a given rate, and
the only one that shows a stall in full.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from workshop.errors import WorkshopError
from workshop.measuring.awake import awake
from workshop.measuring.bar import bar
from workshop.measuring.machine import fingerprint
from workshop.measuring.result import Result
from workshop.paths import ROOT

WARMUP = 0.5
LONG = 3  # seconds from which a bar is shown


@dataclass
class Request:
    """One kind of request in a mix; `weight` is its share.

    With `ids=(first, last)`, each "{id}" in the path and each value "{id}" in the body is a number
    drawn from there.
    """

    method: str = "GET"
    path: str = "/"
    headers: dict = field(default_factory=dict)
    json: object = None
    weight: float = 1
    ids: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Login:
    """A POST before the load; the field `token` of its answer is the bearer token of the others."""

    json: dict
    path: str = "/login"
    token: str = "token"  # noqa: S105, the name of a field


async def load(url: str, requests=None, **options) -> Result:
    """`load_sync` for where an event loop runs, as in notebooks. Cancelled, it stops the load."""
    run = Run(url, requests, **options)
    try:
        return await awake(asyncio.to_thread(run.finish))
    except asyncio.CancelledError:
        run.stop()
        raise


def load_sync(url: str, requests=None, **options) -> Result:
    """Make the load and wait for its end. Ctrl-C ends it early, with a partial result.

    url: what to GET, or the base of `requests`, a list of Request.
    connections: kept open (50). seconds: measured (3), after `warmup` seconds that are not (0.5).
    rate: requests/s for an open loop; None for a closed one. timeout: seconds for one answer (10).
    login: a Login. seed: of the order of the requests (1): the same seed sends the same sequence.
    progress: show a bar; None: on a terminal, for runs over 3 s.
    Raises WorkshopError when nothing listens there, the login fails or an option makes no sense.
    """
    run = Run(url, requests, **options)
    for _ in range(3):  # Ctrl-C may be pressed again while the driver stops
        try:
            return run.finish()
        except KeyboardInterrupt:
            run.stop()
    return run.finish()


class Run:
    """A driver process at work."""

    def __init__(
        self, url, requests=None, *, connections=50, seconds=3, rate=None, warmup=WARMUP,
        timeout=10, login=None, seed=1, progress=None, label="",
    ):  # fmt: skip
        address, self.host, path = split(url)
        self.requests = requests or [Request(path=path)]
        check(connections >= 1, f"connections must be 1 or more, not {connections}.")
        check(seconds > 0, f"seconds must be more than 0, not {seconds}.")
        check(rate is None or rate > 0, f"rate must be more than 0 requests/s, not {rate}.")
        self.about = {
            "url": url, "label": label, "connections": connections, "rate": rate, "warmup": warmup,
        }  # fmt: skip
        self.job = self.about | {
            "address": reach(address, url),
            "host": self.host,
            "seconds": seconds,
            "timeout": timeout,
            "seed": seed,
            "headers": token(self.host, login),
            "requests": [asdict(request) for request in self.requests],
        }
        long = seconds + warmup > LONG
        self.shown = long if progress is None else progress
        self.answer: dict | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workshop.measuring.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; we then close its stdin
        )
        self.process.stdin.write(json.dumps(self.job) + "\n")
        self.process.stdin.flush()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with bar(self.about["label"] or self.about["url"], self.shown) as moved:
            for line in self.process.stdout:
                message = json.loads(line)
                self.answer = message.get("result")
                if self.answer is None:
                    moved(message["done"], f"{message['requests']:,} requests")

    def stop(self) -> None:
        """Ask the driver to stop now and to give what it has."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def finish(self) -> Result:
        """Wait for the result. Raises WorkshopError when the driver died."""
        self.reader.join()
        self.stop()
        self.process.wait()
        self.process.stdout.close()
        if self.answer is None:
            raise WorkshopError("The load driver died; what it said is above, or in the log.")
        names = [request.name for request in self.requests]
        return Result.from_driver(self.about, names, self.answer, fingerprint())


def split(url: str) -> tuple[tuple[str, int], str, str]:
    """Address, Host header and path of a URL. Raises WorkshopError for all but http://."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise WorkshopError(
            f"The load goes to http:// only, such as http://127.0.0.1:8001/, not {url!r}."
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (parts.hostname, parts.port or 80), parts.netloc, path


def check(holds: bool, sentence: str) -> None:
    if not holds:
        raise WorkshopError(sentence)


def reach(address: tuple[str, int], url: str) -> tuple[str, int]:
    """The numeric address, once a connection shows that something listens. Raises WorkshopError."""
    try:
        with socket.create_connection(address, timeout=5) as connection:
            return connection.getpeername()[:2]
    except OSError as error:
        raise WorkshopError(
            f"Nothing answers at {url} ({error.strerror or error}): is the server started?"
        ) from error


def token(host: str, login: Login | None) -> dict:
    """The Authorization header that the login gives; empty without one."""
    if login is None:
        return {}
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request(
            "POST", login.path, json.dumps(login.json), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise WorkshopError(f"POST {login.path} answered {answer.status}: no token, no load.")
        return {"Authorization": f"Bearer {json.loads(text)[login.token]}"}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise WorkshopError(f"POST {login.path} gave no field {login.token!r}: {error}") from error
    finally:
        connection.close()


def main(url: str, connections: int = 50, seconds: float = 5, rate: float | None = None) -> int:
    """`make load URL=… C=50 S=5 RATE=…`: load, print, and 130 as the exit status after Ctrl-C."""
    result = load_sync(url, connections=connections, seconds=seconds, rate=rate)
    print(result)
    return 0 if result.complete else 130
