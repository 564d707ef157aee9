"""Step 2: requests wait side by side, and nothing that one of them does stops the others."""

import http.client
import signal
import socket
import time
from statistics import median

import pytest
from blackbox import SUPPLIER, Request, counts, eventually, expect
from locks import held_order


@pytest.fixture
def app(launch):
    """A supplier slow enough to be timed, a pool patient enough for a slow machine."""
    return launch(SUPPLIER_DELAY=SUPPLIER, POOL_TIMEOUT=20)


def test_waits_overlap(app):
    app.needs_settings()
    answers, seconds = app.together([Request("GET", "/async")] * 20)
    did = f"20 × GET /async at once, each waits {SUPPLIER} s for the supplier"
    expect(counts(answers) == "20 × 200", did, counts(answers), "20 × 200")
    waits = seconds / SUPPLIER
    expect(waits < 6, did, f"all answered after {waits:.1f} waits", "about 1 wait, less than 6")


def test_slow_query_stops_nobody(app, db, product, services):
    did = "one order waits in PostgreSQL for a locked row, meanwhile GET /"
    with held_order(app, db, product, services) as order:
        seconds = first_answer(app, 5)
        expect(seconds is not None, did, "no answer while the order waited", "200 at once")
    answer = order()
    expect(answer and answer.status == 201, "unlocked the row", answer, "201 for the order")


def test_kept_connection_has_no_stall(app):
    kept, fresh = [], []
    connection = connect(app)
    for _ in range(20):
        kept.append(timed_get(connection))
        expect(
            connection.sock is not None,
            "GET / on a connection that the client keeps open",
            "the server closed it after the answer",
            "a connection kept for the next request",
        )
        once = connect(app)
        fresh.append(timed_get(once))
        once.close()
    connection.close()
    ratio = median(kept) / median(fresh)
    expect(
        ratio < 3,
        "20 × GET / on one kept connection, 20 × on a new one each",
        f"on the kept connection a request took {ratio:.1f} times as long as on a new one",
        "less than on a new one; at any rate less than 3 times",
    )


def test_two_hundred_clients_stay_connected(app):
    clients = [connect(app, timeout=5) for _ in range(200)]
    did = "200 clients connect, stay connected, and each asks GET / twice"
    try:
        for round in ("first", "second"):
            served = sum(client.sock is not None or round == "first" for client in clients)
            expect(served == 200, did, f"{served} connections kept after the first", "200")
            for number, client in enumerate(clients, 1):
                try:
                    timed_get(client)
                except OSError:
                    got = f"client {number} had no answer to its {round} request"
                    expect(False, did, got, "400 answers")
    finally:
        for client in clients:
            client.close()


def test_order_survives_sigterm(launch, db, product, services):
    app = launch(fresh=True)
    idle = connect(app)
    timed_get(idle)
    did = "an order is in flight and a client sits idle, then SIGTERM"
    with held_order(app, db, product, services) as order:
        app.server.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)  # longer than the second that gevent's own stop() gives
    answer = order()
    expect(answer and answer.status == 201, did, answer or "no answer", "201 for the order")
    ended = eventually(lambda: app.server.process.poll() is not None, 10)
    idle.close()
    expect(ended, did, "a process that still runs", "the process ends within 5 s")


def test_half_a_request_holds_nobody(app):
    did = "a client sends half a request and falls silent, meanwhile GET /"
    for part in (b"GET / HTTP/1.1\r\nHost: a", HALF_A_BODY):
        with socket.create_connection(("127.0.0.1", app.server.port)) as client:
            client.sendall(part)
            seconds = first_answer(app, 5)
            expect(seconds is not None, did, "no answer while the client was silent", "200")


HALF_A_BODY = (
    b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    b'Content-Length: 40\r\n\r\n{"product_id": 7'
)


def first_answer(app, timeout: float) -> float | None:
    """Seconds until GET / is answered on a new connection, or None."""
    connection = connect(app, timeout)
    try:
        return timed_get(connection)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def connect(app, timeout: float = 20) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", app.server.port, timeout=timeout)


def timed_get(connection) -> float:
    started = time.perf_counter()
    connection.request("GET", "/")
    connection.getresponse().read()
    return time.perf_counter() - started
