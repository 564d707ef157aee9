"""Put load on a server and report what came back, honestly.

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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any, cast
from urllib.parse import urlsplit

from workshop.errors import WorkshopError
from workshop.measuring.interruptible import interruptible
from workshop.measuring.machine import fingerprint
from workshop.measuring.progress import progress_bar
from workshop.measuring.result import Result
from workshop.paths import ROOT

LONG = 3  # seconds from which a progress bar is shown


@dataclass
class Request:
    """One kind of request in a mix; `weight` is its share.

    With `ids=(first, last)`, each "{id}" in the path and each value "{id}" in the body is a number
    drawn from there.
    """

    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    weight: float = 1
    ids: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Login:
    """A POST before the load; the field `token` of its answer is the bearer token of the others."""

    json: dict[str, Any]
    path: str = "/login"
    token: str = "token"  # noqa: S105, the name of a field


async def load(
    url: str,
    requests: Sequence[Request] | None = None,
    *,
    connections: int = 50,
    seconds: float = 3,
    rate: float | None = None,
    warmup: float = 0.5,
    timeout: float = 10,
    login: Login | None = None,
    seed: int = 1,
    progress: bool | None = None,
    label: str = "",
) -> Result:
    """`load_sync` where an event loop runs, as in notebooks. Cancelled, it stops the load."""
    run = LoadProcess(
        url, requests, connections, seconds, rate, warmup, timeout, login, seed, progress, label
    )
    try:
        return await interruptible(asyncio.to_thread(run.finish))
    except asyncio.CancelledError:
        run.stop()
        raise


def load_sync(
    url: str,
    requests: Sequence[Request] | None = None,
    *,
    connections: int = 50,
    seconds: float = 3,
    rate: float | None = None,
    warmup: float = 0.5,
    timeout: float = 10,
    login: Login | None = None,
    seed: int = 1,
    progress: bool | None = None,
    label: str = "",
) -> Result:
    """Make the load and wait for its end. Ctrl-C ends it early, with a partial result.

    url: what to GET, or the base of `requests`, the mix to send instead.
    connections: how many are kept open. seconds: measured, after `warmup` seconds that are not.
    rate: requests/s for an open loop; None for a closed one. timeout: seconds for one answer.
    login: the POST that gives a token. seed: the same one sends the same sequence of requests.
    progress: show a bar; None: on a terminal, for runs over 3 s. label: the title of the result.
    Raises WorkshopError when nothing listens there, the login fails or an option makes no sense.
    """
    run = LoadProcess(
        url, requests, connections, seconds, rate, warmup, timeout, login, seed, progress, label
    )
    for _ in range(3):  # Ctrl-C may be pressed again while the driver stops
        try:
            return run.finish()
        except KeyboardInterrupt:
            run.stop()
    return run.finish()


async def until_answered(
    attempt: Callable[[float], Awaitable[Result]], seconds: float, measure: str = "throughput"
) -> Result:
    """The result of `attempt(seconds)`; of one 4 or 16 times as long while there is no `measure`.

    A busy machine may answer nothing within a short run. Errors are answers too: they end it.
    """
    for factor in (1, 4, 16):
        result = await attempt(factor * seconds)
        if getattr(result, measure) or result.errors:
            break
    return result


class LoadProcess:
    """A driver process at work; parameters as in `load_sync`."""

    def __init__(
        self,
        url: str,
        requests: Sequence[Request] | None,
        connections: int,
        seconds: float,
        rate: float | None,
        warmup: float,
        timeout: float,
        login: Login | None,
        seed: int,
        progress: bool | None,
        label: str,
    ):
        address, host, path = split(url)
        require(connections >= 1, f"connections must be 1 or more, not {connections}.")
        require(seconds > 0, f"seconds must be more than 0, not {seconds}.")
        require(rate is None or rate > 0, f"rate must be more than 0 requests/s, not {rate}.")
        self.requests = list(requests or [Request(path=path)])
        self.about = {
            "url": url,
            "label": label,
            "connections": connections,
            "rate": rate,
            "warmup": warmup,
        }
        job = self.about | {
            "address": reach(address, url),
            "host": host,
            "seconds": seconds,
            "timeout": timeout,
            "seed": seed,
            "headers": authorization(host, login),
            "requests": [asdict(request) for request in self.requests],
        }
        takes_long = seconds + warmup > LONG
        self.show_progress = takes_long if progress is None else progress
        self.answer: dict[str, Any] | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workshop.measuring.driver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; we then close its stdin
        )
        self.input, self.output = cast(IO, self.process.stdin), cast(IO, self.process.stdout)
        self.input.write(json.dumps(job) + "\n")
        self.input.flush()
        self.reader = threading.Thread(target=self._read, args=(label or url,), daemon=True)
        self.reader.start()

    def _read(self, title: str) -> None:
        with progress_bar(title, self.show_progress) as update_progress:
            for line in self.output:
                message = json.loads(line)
                self.answer = message.get("result")
                if self.answer is None:
                    update_progress(message["fraction"], f"{message['answers']:,} requests")

    def stop(self) -> None:
        """Ask the driver to stop now and to report what it has."""
        with contextlib.suppress(OSError):
            self.input.close()

    def finish(self) -> Result:
        """Wait for the result. Raises WorkshopError when the driver died."""
        self.reader.join()
        self.stop()
        self.process.wait()
        self.output.close()
        if self.answer is None:
            raise WorkshopError("The load driver ended early: its output is above, or in the log.")
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


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise WorkshopError(sentence)


def reach(address: tuple[str, int], url: str) -> tuple[str, int]:
    """The numeric address, once a connection shows that something listens. Raises WorkshopError."""
    try:
        with socket.create_connection(address, timeout=5) as connection:
            return connection.getpeername()[:2]
    except OSError as error:
        raise WorkshopError(
            f"Nothing answers at {url} ({error.strerror or error}): start the "
            "server first, for instance with make step 2."
        ) from error


def authorization(host: str, login: Login | None) -> dict[str, str]:
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
