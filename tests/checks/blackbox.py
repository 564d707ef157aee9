"""What the checks see of an app: its answers over HTTP, its process, its output."""

import asyncio
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
import psutil
import pytest

from workshop.server import Server
from workshop.steps import Step

JWT_SECRET = "a secret for the checks, not for anything else"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each client reads all certificates
SUPPLIER = 0.5  # seconds; slow enough to be timed
PATIENCE = 20  # seconds for any answer; far more than a busy machine needs


class CheckFailed(AssertionError):
    """A failed check, as the learner reads it; `hint` as for `expect`."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint


class NotStarted(CheckFailed):
    """The app didn't start with the settings that it was given."""


def expect(ok: object, did: str, got: object, expected: str, hint: str = "") -> None:
    """Fail the check unless `ok`, telling what was done, what came back, what was expected.

    `hint` names an entry in the check's table `hint_for` (stepNN.toml), which learners read in
    place of its first hint when this expectation fails.
    """
    if not ok:
        raise CheckFailed(f"did: {did}\ngot: {got}\nexpected: {expected}", hint)


@dataclass
class Answer:
    """One HTTP answer; `seconds` from sending the request to the end of the body."""

    status: int
    headers: httpx.Headers
    body: bytes
    seconds: float

    def json(self):
        """The body as JSON, or None where it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        kind = self.headers.get("Content-Type", "no content type").split(";")[0]
        text = " ".join(self.body.decode(errors="replace").split())
        return f"{self.status} {kind}: {text[:120]}{'…' if len(text) > 120 else ''}"


def expect_error(answer: Answer | None, did: str, status: int) -> None:
    """The status, as JSON, with a sentence in `message` that tells nothing of the inside."""
    body = answer.json() if answer else None
    message = body.get("message") if isinstance(body, dict) else None
    is_sentence = isinstance(message, str) and len(message) > 5
    expect(
        answer and answer.status == status and is_sentence,
        did,
        answer or "no answer",
        f'{status} application/json: {{"message": a sentence}}',
    )
    told = INSIDE.search(answer.body.decode(errors="replace"))
    expected = "a sentence for a client, which tells nothing of the inside"
    expect(not told, did, f"{answer}, which tells {told and told[0]!r}", expected)


# What only a library, PostgreSQL or the code would say, and what an attacker likes to read.
INSIDE = re.compile(
    r"psycopg|sqlalche|redis\.|werkzeug|Traceback|\bSELECT\b|\bUPDATE\b|\bINSERT\b|\.py\b|127\.0\.0\.1|"
    r"localhost|connection to server|server closed|FATAL|SQLSTATE|canceling statement|"
    r"integer out of range|QueuePool|read-only transaction|workshop"
)


@dataclass
class Request:
    """One request of a burst."""

    method: str
    path: str
    json: object = None
    headers: dict = field(default_factory=dict)


class Remote:
    """A server that runs already at a URL; it has an address, but no process and no output."""

    def __init__(self, url: str):
        self.url = url

    @property
    def port(self) -> int:
        address = httpx.URL(self.url)
        if address.host != "127.0.0.1":
            pytest.skip("needs a server on 127.0.0.1, and this one is elsewhere")
        return address.port or 80

    def __getattr__(self, name: str):
        pytest.skip("needs the app's process, and only its URL is known")


class App:
    """The app under check, in a process of its own."""

    def __init__(self, server: Server | Remote, step: Step):
        self.server, self.step = server, step
        self.url = server.url
        # A cookie that an app sets would otherwise come with every later request, unasked.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self.client = httpx.Client(
            base_url=self.url, timeout=PATIENCE, verify=NO_TLS, trust_env=False, cookies=no_cookies
        )
        self.auth: dict[str, str] = {}
        self.hit_patience = 10.0  # seconds for an answer from the cache
        # Of each connection that PostgreSQL had, (process id, client's port): is it this app's?
        self.connections: dict[tuple[int, int], bool] = {}

    def seconds_up(self) -> float:
        """How long the app has been running."""
        return time.time() - psutil.Process(self.server.process.pid).create_time()

    def output(self) -> str:
        """What the app has printed; nothing where it is no process of ours."""
        return "" if isinstance(self.server, Remote) else self.server.output()

    def needs_settings(self) -> None:
        """Skip the check where the app runs already, so that we chose none of its settings."""
        if isinstance(self.server, Remote):
            pytest.skip("needs to start the app with settings of its own, and it runs already")

    def request(self, method: str, path: str, **options) -> Answer:
        """One request; where no answer comes, the check fails with that."""
        started = time.monotonic()
        try:
            reply = self.client.request(method, path, **options)
        except httpx.HTTPError as error:
            patience = self.client.timeout.read
            if isinstance(error, httpx.TimeoutException):
                self.client.timeout = 2  # it hangs: a hundred more cases need not wait as long
            raise CheckFailed(
                f"did: {method} {path[:60]}\n"
                f"got: no answer ({type(error).__name__})\n"
                f"expected: an answer within {patience:.0f} s"
            ) from None
        return Answer(reply.status_code, reply.headers, reply.content, time.monotonic() - started)

    def get(self, path: str, **options) -> Answer:
        return self.request("GET", path, **options)

    def post(self, path: str, json: object = None, **options) -> Answer:
        return self.request("POST", path, json=json, **options)

    def order(self, product_id, quantity) -> Answer:
        """POST /orders, as admin where the step asks who orders."""
        body = {"product_id": product_id, "quantity": quantity}
        return self.post("/orders", body, headers=self.authorization())

    def authorization(self, username: str = "admin", password: str = "password") -> dict:  # noqa: S107
        """The header with which this step lets the user in; empty before step 5."""
        if not self.step.has_login:
            return {}
        if username not in self.auth:
            answer = self.post("/login", {"username": username, "password": password})
            token = (answer.json() or {}).get("token")
            expect(
                answer.status == 200 and token,
                f"POST /login as {username}",
                answer,
                "200 with a token",
            )
            self.auth[username] = token
        return {"Authorization": f"Bearer {self.auth[username]}"}

    def together(self, requests: list[Request]) -> tuple[list[Answer | None], float]:
        """All requests at once, each on its own connection.

        Gives up once none comes for PATIENCE seconds. Returns the answers in order, None where none
        came, and the seconds for all together.
        """
        return asyncio.run(self._together(requests))

    async def _together(self, requests):
        # Whoever has an answer keeps the connection: a server must have room for all.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=10 * PATIENCE)
        timeout = aiohttp.ClientTimeout(total=None)
        options = {
            "connector": connector,
            "timeout": timeout,
            "cookie_jar": aiohttp.DummyCookieJar(),
        }
        async with aiohttp.ClientSession(self.url, **options) as session:
            started = time.monotonic()
            tasks = [asyncio.create_task(_answer(session, request)) for request in requests]
            waiting = set(tasks)
            while waiting:  # as long as answers come, however slow the machine
                done, waiting = await asyncio.wait(
                    waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    for task in waiting:
                        task.cancel()
                    await asyncio.wait(waiting)
                    break
            seconds = time.monotonic() - started
            return [None if task.cancelled() else task.result() for task in tasks], seconds


async def _answer(session, request: Request) -> Answer | None:
    started = time.monotonic()
    try:
        async with session.request(
            request.method, request.path, json=request.json, headers=request.headers
        ) as reply:
            body = await reply.read()
            seconds = time.monotonic() - started
            return Answer(reply.status, httpx.Headers(dict(reply.headers)), body, seconds)
    except (aiohttp.ClientError, TimeoutError):
        return None


def counts(answers: list[Answer | None]) -> str:
    """The statuses of many answers in one line: "50 × 201, 150 × 409, 3 × no answer"."""
    statuses = [str(a.status) if a else "no answer" for a in answers]
    return ", ".join(f"{statuses.count(s)} × {s}" for s in sorted(set(statuses)))


def amount(number: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 order", "2 orders"; `many` where it isn't `one` and an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def as_long(ratio: float) -> str:
    """A ratio of two durations: "4.7 times as long"."""
    return f"{ratio:.1f} times as long" if ratio >= 0.1 else "less than a tenth as long"


def eventually(condition, seconds: float = 10.0, every: float = 0.04):
    """Poll until the condition gives something true; returns that, or the last thing it gave."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return result
