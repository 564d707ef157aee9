"""Step 5 under gunicorn: what the workers must share, they share through PostgreSQL and Redis."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psutil
import psycopg2
import pytest
import rawhttp
from blackbox import App, eventually
from redis import Redis

from workshop.server import answers
from workshop.services import private
from workshop.services.ports import free_port
from workshop.steps import step
from workshop.target import Target, serve

WORKERS = 2
GUNICORN = [sys.executable, "-m", "gunicorn", "--keep-alive", "60"]
SECRET = {"JWT_SECRET": "s" * 32}
ALICE = {"username": "alice", "password": "wonderland"}
WRONG = {"username": "alice", "password": "letmein"}


@pytest.fixture(scope="module")
def services():
    with private() as own:
        yield own


@pytest.fixture(scope="module")
def gunicorn(services, tmp_path_factory):
    """gunicorn at work in the step's folder, all its workers serving."""
    log = tmp_path_factory.mktemp("gunicorn") / "output.log"
    port = free_port()
    settings = {"PORT": str(port), "WORKERS": str(WORKERS), "LOGIN_ATTEMPTS": "3"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            GUNICORN,
            cwd=step(5).path,
            env=os.environ | services.environment() | SECRET | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert eventually(lambda: answers(port)), log.read_text()
        yield Gunicorn(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Gunicorn:
    def __init__(self, process, port, log):
        self.process, self.port, self.log = process, port, log
        self.stack = ExitStack()  # of the clients that are connected

    def ask(self, *request):
        """The answer to one request on a connection of its own."""
        with Client(self.port) as client:
            return client.ask(*request)

    def clients(self) -> list["Client"]:
        """One client for each worker, connected to that one."""
        found = {}

        def connect():
            clients = [self.stack.enter_context(Client(self.port)) for _ in range(8)]
            for worker in psutil.Process(self.process.pid).children():
                theirs = {c.raddr.port for c in worker.net_connections("tcp") if c.raddr}
                for client in clients:
                    if client.port in theirs:
                        found[worker.pid] = client
            return len(found) == WORKERS

        assert eventually(connect), "not all workers take connections"
        return list(found.values())


class Client:
    """A kept connection; its first request is answered when it is made."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.ask("GET", "/")
        self.port = self.connection.sock.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.connection.close()

    def ask(self, method, path, body=None, token=None):
        """(status, headers, body) of the answer."""
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        self.connection.request(method, path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def token(self):
        status, _, body = self.ask("POST", "/login", ALICE)
        assert status == 200
        return json.loads(body)["token"]


@pytest.fixture
def clients(gunicorn, services):
    with Redis.from_url(services.valkey.url) as redis:
        redis.flushdb()
    with gunicorn.stack:
        yield gunicorn.clients()


def test_token_of_one_worker_is_good_for_all(clients):
    tokens = [client.token() for client in clients]
    assert [c.ask("GET", "/me", token=t)[0] for c in clients for t in tokens] == [200] * 4


def test_report_of_one_worker_is_a_hit_in_all(clients):
    # On a busy machine the first report may take longer than its lease, and isn't stored then.
    for _ in range(5):
        answers = [client.ask("GET", "/data") for client in clients]
        if answers[1][1]["X-Cache"] == "HIT":
            break
    assert answers[1][1]["X-Cache"] == "HIT"
    assert answers[0][2] == answers[1][2]


def test_order_in_one_worker_renews_the_report_in_all(clients):
    first, second = clients
    first.ask("GET", "/data")
    placed, _, _ = first.ask("POST", "/orders", {"product_id": 7, "quantity": 1}, first.token())
    assert placed == 201
    assert second.ask("GET", "/data")[1]["X-Cache"] == "MISS"


def test_stampede_on_all_workers_is_one_computation(gunicorn, clients, services):
    with psycopg2.connect(services.postgres.url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")
        connection.commit()
        with ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(gunicorn.ask, "GET", "/data") for _ in range(40)]
            statuses = [job.result()[0] for job in asked]
        assert statuses == [200] * 40
        cursor.execute(
            "SELECT sum(calls) FROM pg_stat_statements"
            " WHERE query LIKE '%sum(orders.total_cents)%' AND query NOT LIKE '%pg_stat%'"
        )
        assert cursor.fetchone()[0] == 1
    connection.close()


def test_client_that_pipelines_reports_stops_no_other(gunicorn, clients):
    for client, attacker in zip(clients, gunicorn.clients(), strict=True):
        with pipelining(attacker.connection.sock):
            assert [client.ask("GET", "/data")[0] for _ in range(5)] == [200] * 5


@contextmanager
def pipelining(connection):
    """Asks for the report over and over, and sends the next request before the answer is there."""
    over, answered = threading.Event(), threading.Event()

    def send():
        with suppress(OSError):
            while not over.is_set():
                connection.sendall(b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n" * 50)

    def receive():
        with suppress(OSError):
            while connection.recv(65536):
                answered.set()

    threads = [threading.Thread(target=way) for way in (send, receive)]
    for thread in threads:
        thread.start()
    try:
        assert answered.wait(20)
        yield
    finally:
        over.set()
        connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def test_guesses_are_counted_across_workers(clients):
    first, second = clients
    statuses = [client.ask("POST", "/login", WRONG)[0] for client in [first, second] * 3]
    assert statuses == [401] * 3 + [429] * 3
    assert first.ask("POST", "/login", ALICE)[0] == 429


def test_items_are_sold_once_by_all_workers(gunicorn, clients, services):
    token = clients[0].token()
    with psycopg2.connect(services.postgres.url()) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE products SET stock = 20 WHERE id = 12")
    connection.close()
    order = {"product_id": 12, "quantity": 1}
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(gunicorn.ask, "POST", "/orders", order, token) for _ in range(40)]
        assert sorted(job.result()[0] for job in asked) == [201] * 20 + [409] * 20


@pytest.fixture
def app(services, tmp_path):
    """One worker, which forgives no delay."""
    target = Target("gunicorn", step(5).path, arguments=tuple(GUNICORN[1:]))
    settings = {"WORKERS": 1, "REQUEST_TIMEOUT": 1}
    with serve(target, services, tmp_path / "output.log", **settings) as server:
        yield App(server, step(5))


def test_retired_worker_sends_nothing_to_idle_clients(app):
    """They would take a 500 that they haven't asked for as the answer to their next request."""
    with rawhttp.Connection(app) as idle:
        assert idle.send(rawhttp.GET).reply().status == 200
        app.server.process.send_signal(signal.SIGHUP)
        assert idle.reply() is None
    assert "Traceback" not in app.server.output()


def test_login_in_a_malformed_body_is_refused_and_not_logged(app):
    password = "sesame-4711"
    login = f'{{"username": "alice", "password": "{password}"}}\r\n'.encode()
    head = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    for line in (b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Length: 5"):
        with rawhttp.Connection(app) as client:
            replies = client.send(head + line + b"\r\n\r\n" + login).replies()
        assert {reply.status for reply in replies} == {400}
        assert all("message" in json.loads(reply.body) for reply in replies)
    assert password not in app.server.output()


def test_slow_bodies_lock_no_one_out(app):
    with ExitStack() as stack:
        slow = [stack.enter_context(rawhttp.Connection(app)) for _ in range(1050)]
        for client in slow:
            client.send(rawhttp.HALF_A_BODY)
        with Client(app.server.port) as other:
            assert other.ask("GET", "/")[0] == 200
        assert all(client.is_ended() for client in slow)
    assert "Traceback" not in app.server.output()


def test_pipelining_client_blocks_no_one(app):
    with rawhttp.Connection(app) as greedy:
        greedy.send(rawhttp.GET * 3000)
        counter = threading.Thread(target=greedy.count_replies, args=[3000], daemon=True)
        counter.start()
        for _ in range(5):
            with Client(app.server.port) as other:
                assert other.ask("GET", "/")[0] == 200
        assert greedy.counted < 3000


@pytest.mark.parametrize("secret", [None, "", "s" * 31], ids=["unset", "empty", "31 bytes"])
def test_without_a_good_secret_it_does_not_start(services, secret):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JWT_SECRET")}
    environment |= {"PORT": str(free_port())} | ({} if secret is None else {"JWT_SECRET": secret})
    done = subprocess.run(
        GUNICORN, cwd=step(5).path, env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "JWT_SECRET must have 32 bytes or more, the same ones for all workers."
    ]
