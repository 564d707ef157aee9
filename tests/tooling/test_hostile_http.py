"""Step 5 under pywsgi and under gunicorn, against clients that send what no client should.

Requests of every kind are broken at random places, pipelined, split over several sends and cut off.
Whatever comes, no answer is a 500, nothing of a request reaches the output, and other clients are
answered throughout. The sequence is the same in every run; FUZZ_SEED=7 chooses another one.
"""

import json
import os
import random
import socket
import threading
from contextlib import contextmanager, suppress

import attacks
import pytest
import rawhttp
from blackbox import App, eventually
from usage import open_files

from workshop.services import private
from workshop.steps import step
from workshop.target import Target, serve

SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROUNDS = 500
PASSWORD = b"sesame-4711"
LOGIN = b'{"username": "alice", "password": "' + PASSWORD + b'"}'
CHUNKS = b"5\r\n" + LOGIN[:5] + b"\r\n%x\r\n" % len(LOGIN[5:]) + LOGIN[5:] + b"\r\n0\r\n\r\n"
HEAD = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
SAMPLES = [
    rawhttp.GET,
    rawhttp.get(b"Connection: close"),
    rawhttp.get(b"Connection: upgrade", b"Upgrade: websocket"),
    rawhttp.get(b"Expect: 100-continue", b"Content-Length: 0"),
    b"HEAD /products/7 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /data HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/products/7 HTTP/1.1\r\nHost: a\r\n\r\n",
    HEAD + b"Content-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    HEAD.replace(b"/login", b"/orders") + b"Content-Length: 2\r\n\r\n{}",
    *rawhttp.MALFORMED_HEADS.values(),
    *rawhttp.MALFORMED_BODIES.values(),
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"%", b"\xff", b"0", b"-1",
    b"zz\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"0\r\n\r\n", b"x" * 9000, b"X-Name: value\r\n" * 120,
]  # fmt: skip
SERVERS = {"pywsgi": (), "gunicorn": ("-m", "gunicorn")}


@pytest.fixture(scope="module")
def services():
    with private() as own:
        yield own


@pytest.fixture(scope="module", params=list(SERVERS))
def app(request, services, tmp_path_factory):
    target = Target(request.param, step(5).path, arguments=SERVERS[request.param])
    log = tmp_path_factory.mktemp(request.param) / "output.log"
    settings = {"SUPPLIER_DELAY": 0, "WORKERS": 1, "REQUEST_TIMEOUT": 2}
    with serve(target, services, log, **settings) as server:
        yield App(server, step(5))


def test_broken_requests_harm_no_one(app):
    chance = random.Random(SEED)
    for _ in range(50):
        send(app, message(chance), chance)
    before = open_files(app)
    with others_answered(app) as answers:
        for number in range(ROUNDS):
            sent = message(chance)
            statuses = [reply.status for reply in send(app, sent, chance)]
            assert not [status for status in statuses if status >= 500], f"{number}: {sent!r}"
    assert answers, "no other client was answered"
    assert set(answers) == {200}
    output = app.server.output()
    assert "Traceback" not in output
    assert PASSWORD.decode() not in output
    assert eventually(lambda: open_files(app) <= before + 5)


def test_flood_of_slow_clients_leaves_room(app):
    """Thousands of half requests a second: accepting them must leave time for answers."""
    with attacks.attacked(app.server.port, attacks.slow_bodies):
        for _ in range(5):
            with rawhttp.Connection(app) as other:
                reply = other.send(rawhttp.GET).reply()
                assert reply, "a client that had sent its whole request was disconnected"
                assert reply.status == 200
            assert open_files(app) < attacks.SLOW_CLIENTS + 300


def test_refusals_are_json(app):
    for data, status in (
        (b"GET / HTTP/3\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (rawhttp.get(b"X-Name: " + b"a" * 9000), 431),
        (rawhttp.get(*[b"X-Name: a"] * 200), 431),
        (rawhttp.post("/login", b" " * 200_000), 413),
    ):
        with rawhttp.Connection(app) as client:
            reply = client.send(data).reply()
            assert reply.status == status
            assert list(json.loads(reply.body)) == ["message"]
            assert client.is_ended()


def message(chance: random.Random) -> bytes:
    """One to three requests behind each other, mutated up to four times."""
    data = b"".join(chance.choices(SAMPLES, k=chance.randint(1, 3)))
    for _ in range(chance.randint(0, 4)):
        start = chance.randrange(len(data))
        end = min(len(data), start + chance.choice([0, 0, 1, 4, 30]))
        data = data[:start] + chance.choice(PIECES) + data[end:]
    return data[: chance.randrange(len(data))] if chance.random() < 0.1 else data


def send(app, data: bytes, chance: random.Random) -> list[rawhttp.Reply]:
    """Send in up to three parts, say that nothing more comes, and return the answers."""
    cuts = sorted(chance.choices(range(len(data) + 1), k=2))
    with rawhttp.Connection(app) as client:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            client.send(data[start:end])
        with suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
        return client.replies()


@contextmanager
def others_answered(app):
    """Meanwhile another client asks again and again; gives the statuses that it got, 0 for none."""
    statuses, over = [], threading.Event()

    def ask():
        while not over.is_set():
            with rawhttp.Connection(app, timeout=10) as client:
                reply = client.send(rawhttp.GET).reply()
                statuses.append(reply.status if reply else 0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()
