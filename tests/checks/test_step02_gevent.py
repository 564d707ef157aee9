"""Step 2: requests wait side by side, and nothing that one of them does stops the others."""

import http.client
import json
import re
import signal
import threading
import time
from contextlib import ExitStack
from statistics import median

import pytest
import rawhttp
from activity import backends, pause, queued
from blackbox import SUPPLIER, Request, counts, eventually, expect
from bursts import Burst, order_request
from locks import held_order, row_locked
from tables import expect_each
from usage import cpu_seconds, is_connected, memory, open_files, threads, wakeups


@pytest.fixture
def app(launch):
    """A supplier slow enough to be timed."""
    return launch(SUPPLIER_DELAY=SUPPLIER)


def test_waits_overlap(app):
    app.needs_settings()
    message = {"message": "This is an asynchronous API response!"}
    for number in (20, 100):
        answers, seconds = app.together([Request("GET", "/async")] * number)
        did = f"{number} × GET /async at once, each waits {SUPPLIER} s for the supplier"
        expect(counts(answers) == f"{number} × 200", did, counts(answers), f"{number} × 200")
        waits = seconds / SUPPLIER
        got = f"all answered after {waits:.1f} waits"
        expect(waits < 6, did, got, "about 1 wait, less than 6")
        others = [answer for answer in answers if answer.json() != message]
        expect(not others, did, others and others[0], f"200 with {json.dumps(message)}", "message")


def test_slow_query_stops_nobody(app, db, product, services):
    did = "one order waits in PostgreSQL for a locked row, meanwhile GET /"
    with held_order(app, db, product, services) as order:
        seconds = first_answer(app, 5)
        expect(seconds is not None, did, "no answer while the order waited", "200 at once")
        before = cpu_seconds(app)
        time.sleep(QUIET)
        busy = (cpu_seconds(app) - before) / QUIET
    answer = order()
    did = (
        "one order waits in PostgreSQL for a locked row; looked at the processor's time of the app"
    )
    expect(busy < 0.25, did, f"busy for {busy:.0%} of the wait", "next to nothing: it only waits")
    expect(answer and answer.status == 201, "unlocked the row", answer, "201 for the order")
    did = f"12 orders wait for a locked row, meanwhile GET /products/{product['id'] + 1}"
    with row_locked(services, product["id"]):
        orders = Burst(app, [order_request(app, product)] * 12)
        eventually(lambda: len(queued(app, db)) >= 12, 3)
        other = Burst(app, [Request("GET", f"/products/{product['id'] + 1}")])
        answered = other.over(5)
        before = wakeups(app)
        time.sleep(QUIET)
        woken = wakeups(app) - before
    orders.answers()
    expect(answered, did, "no answer while the orders waited", "200 at once")
    did = f"12 orders wait for a locked row, for {QUIET} s"
    got = f"the app woke up {woken} times"
    expect(woken < 40, did, got, "hardly ever: it is told when PostgreSQL answers", hint="polls")


QUIET = 0.4  # seconds


def test_postgresql_connections_are_limited(launch, db, product, services):
    app = launch(DB_CONNECTIONS=4, POOL_SIZE=4, MAX_OVERFLOW=0)
    limit = "DB_CONNECTIONS=4 (from step 3 on POOL_SIZE=4, MAX_OVERFLOW=0)"
    did = f"12 clients order at once a product whose row is locked, with {limit}"
    with row_locked(services, product["id"]):
        orders = Burst(app, [order_request(app, product)] * 12)
        several = eventually(lambda: len(queued(app, db)) > 1, 5)
        most = max(len(backends(app, db)) for _ in pause(0.3))
        expect(several, did, "no more than one of them in PostgreSQL", "2 or more, at most 4")
        expect(most <= 4, did, f"{most} connections to PostgreSQL", "at most 4")
        for pid in backends(app, db):
            db.query("SELECT pg_terminate_backend(%s, 5000)", pid)
        more = eventually(lambda: len(queued(app, db)) > 4, 0.3)
        did += ", and PostgreSQL ends these connections"
        expect(not more, did, "more than 4 orders in PostgreSQL", "at most 4")
    answers = orders.answers()
    fair = all(answer and answer.status in (201, 503) for answer in answers)
    expect(fair, did, counts(answers), "503 for these, 201 for the others")


def test_kept_connection_has_no_stall(app):
    connection = connect(app, timeout=5)
    for path, status in (("/products/0", 404), ("/", 200)):
        did = "GET /products/0, which is a 404, then GET / on the same connection"
        kept_open = path != "/" or connection.sock is not None
        expect(kept_open, did, "the server closed it after the 404", "200 and 200", hint="errors")
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        expect(answer.status == status, f"GET {path}", answer.status, f"{status}")
    connection.close()
    for _ in range(3):  # a busy machine may delay one series, a stall is in all of them
        kept, fresh = usual_times(app)
        if kept < 3 * fresh:
            return
    expect(
        False,
        "20 × GET / on one kept connection, 20 × on a new one each",
        f"{kept * 1000:.1f} ms on the kept connection, {fresh * 1000:.1f} ms on a new one",
        "less than 3 times as long as on a new one",
    )


def usual_times(app) -> tuple[float, float]:
    """Seconds that a request usually takes on a kept connection, and on a new one."""
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
    return median(kept), median(fresh)  # not the minimum: a stall lets some requests pass


def test_two_hundred_clients_stay_connected(app):
    clients = [connect(app, timeout=5) for _ in range(200)]
    did = "200 clients connect, stay connected, and each asks GET / twice"
    try:
        for round in ("first", "second"):
            served = sum(client.sock is not None or round == "first" for client in clients)
            got = f"{served} connections kept after the first"
            expect(served == 200, did, got, "200", hint="closed")
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
        stopped = time.monotonic()
        eventually(lambda: is_over(app), 1.2)  # longer than the second that gevent's stop() gives
    answer = order()
    ended = eventually(lambda: is_over(app), 10)
    end = f"; the process ended {time.monotonic() - stopped:.1f} s after SIGTERM"
    expect(
        answer and answer.status == 201,
        did,
        f"{answer or 'no answer'}{end if ended else ''}",
        "201 for the order, and only then the end of the process",
        hint="ended_too_soon" if ended else "",
    )
    idle.close()
    got = "a process that still runs"
    expect(ended, did, got, "the process ends within 5 s", hint="never_ends")


def is_over(app) -> bool:
    """Whether the app's process has ended."""
    return app.server.process.poll() is not None


def test_half_a_request_holds_nobody(app):
    did = "a client sends half a request and falls silent, meanwhile GET /"
    for part in (rawhttp.HALF_A_HEAD, rawhttp.HALF_A_BODY):
        with rawhttp.Connection(app) as client:
            client.send(part)
            seconds = first_answer(app, 5)
            expect(seconds is not None, did, "no answer while the client was silent", "200")


def test_pipelining_client_blocks_no_one(app):
    did = f"one client sends {PIPELINED:,} × GET / without waiting for answers, meanwhile GET /"
    with rawhttp.Connection(app, timeout=5) as greedy:
        greedy.send(rawhttp.GET * PIPELINED)
        counter = threading.Thread(target=greedy.count_replies, args=[PIPELINED], daemon=True)
        counter.start()
        others = 0
        while counter.is_alive() and others < 10:
            others += first_answer(app, 5) is not None
        eventually(lambda: greedy.counted > 1 or not counter.is_alive())
    got = f"{others} other clients answered while {greedy.counted:,} of its requests were"
    expect(others >= 10 or greedy.counted < PIPELINED, did, got, "10 or more in between")
    expect(greedy.counted > 1, did, f"{greedy.counted} answers on its connection", "all of them")


PIPELINED = 3000


@pytest.mark.parametrize("headers", [["Connection: upgrade"], ["Upgrade: websocket"]])
def test_upgrade_request_is_answered(app, product, headers):
    body = json.dumps({"product_id": product["id"], "quantity": 1}).encode()
    lines = [f"{name}: {value}" for name, value in app.authorization().items()]
    did = f"POST /orders with {' and '.join(headers)}, then GET / on the same connection"
    with rawhttp.Connection(app, timeout=5) as client:
        order = client.send(rawhttp.post("/orders", body, *headers, *lines)).reply()
        expect(order and order.status == 201, did, order or "no answer", "201 for the order")
        second = client.send(rawhttp.GET).reply()
        expect(second and second.status == 200, did, second or "no second answer", "200")
    did = f"POST /orders in chunks with {' and '.join(headers)}"
    with rawhttp.Connection(app, timeout=5) as client:
        order = client.send(rawhttp.post_in_chunks("/orders", body, *headers, *lines)).reply()
        expect(order and order.status == 201, did, order or "no answer", "201 for the order")


def test_connection_close_is_obeyed(app):
    def obeyed(value, _):
        did = f"two requests on one connection, the second with Connection: {value}"
        with rawhttp.Connection(app, timeout=5) as client:
            first = client.send(rawhttp.GET).reply()
            second = client.send(rawhttp.get(f"Connection: {value}".encode())).reply()
            expect(first and second, did, "one answer", "two answers")
            kinds = [reply.headers.get("Content-Type") for reply in (first, second)]
            same = kinds[0] == kinds[1] and second.body == first.body
            expect(same, did, f"Content-Type: {kinds[0]}, {kinds[1]}", "the same answer twice")
            expect(client.is_ended(), did, "a connection that stays open", "the server hangs up")

    expect_each(dict.fromkeys(("close", "Close", "close, TE", "TE,close")), obeyed)


def test_malformed_request_is_refused(app):
    def refused(what, data):
        did = f"sent a request with {what}, and one more behind it"
        with rawhttp.Connection(app, timeout=3) as client:
            replies = client.send(data + rawhttp.GET).replies()
            statuses = [reply.status for reply in replies]
            got = " and ".join(map(str, statuses)) or "no answer"
            good = sum(status < 400 for status in statuses)
            may_be_good = what in rawhttp.MALFORMED_BODIES  # the app may not need the body
            expect(good <= may_be_good, did, got, "400, or no answer")
            expect(500 not in statuses, did, got, "400, or no answer")
            expect(client.is_ended(1), did, f"{got}, and no end of the connection", "a hang-up")
            if good < len(replies):
                expect_refusal(replies[-1], did)

    def too_large(what, request):
        data, statuses = request
        did = f"sent a request with {what}"
        with rawhttp.Connection(app, timeout=3) as client:
            reply = client.send(data).reply()
            got = f"status {reply.status}" if reply else "no answer"
            expected = f"{statuses[0]}"
            expect(reply and reply.status in statuses, did, got, expected, hint="too_large")
            expect_reason(reply, did)

    def answered(what, data):
        did = f"sent a request with {what}, and one more behind it"
        with rawhttp.Connection(app, timeout=3) as client:
            client.send(data)
            statuses = [reply.status for reply in (client.reply(), client.reply()) if reply]
            got = " and ".join(map(str, statuses)) or "no answer"
            expect(statuses == [200, 200], did, got, "200 and 200", hint="unusual")

    expect_each(rawhttp.MALFORMED_HEADS | rawhttp.MALFORMED_BODIES, refused)
    expect_each(rawhttp.TOO_LARGE, too_large)
    expect_each(rawhttp.UNUSUAL, answered)
    did = "GET / HTTP/1.0, without a Host"
    with rawhttp.Connection(app, timeout=3) as client:
        reply = client.send(b"GET / HTTP/1.0\r\n\r\n").reply()
        expect(reply and reply.status == 200, did, reply or "no answer", "200", hint="unusual")
    expect(first_answer(app, 5) is not None, "GET / after all that", "no answer", "200")
    order = {"product_id": 0, "quantity": 0, "note": rawhttp.PRIVATE}
    app.post("/orders", order, headers={"Cookie": rawhttp.PRIVATE} | app.authorization())
    tracebacks = app.output().count("Traceback")
    did = "sent malformed and too large requests, then looked at the app's output"
    expect(not tracebacks, did, f"{tracebacks} tracebacks", "none: it refused them", "traceback")
    repeated = [line for line in app.output().splitlines() if rawhttp.PRIVATE in line]
    did = "sent malformed requests with a word of the client's; looked for it in the app's output"
    expect(not repeated, did, f"{len(repeated)} lines with it", "none: it may be a password")


def expect_refusal(reply: rawhttp.Reply, did: str) -> None:
    """An answer of the server itself says why, and that it is the last one."""
    allowed = (400, 408, 411, 413, 414, 417, 431, 501, 505)
    expect(reply.status in allowed, did, f"status {reply.status}", "400", hint="message")
    expect_reason(reply, did)
    closes = reply.headers.get("Connection", "(none)")
    got = f"{reply.status}, Connection: {closes}"
    expect(closes.lower() == "close", did, got, "Connection: close", hint="last_answer")


def expect_reason(reply: rawhttp.Reply, did: str) -> None:
    """A sentence in JSON; a server that isn't ours may answer in HTML."""
    kind = reply.headers.get("Content-Type", "(none)")
    got = f"{reply.status}, Content-Type: {kind}, {reply.body[:60]!r}"
    told = reply.has_message() if kind.startswith("application/json") else b"<" in reply.body
    expect(told, did, got, 'application/json: {"message": a sentence}', hint="message")


def test_slow_request_is_cut_off(launch):
    app = launch(**TIMEOUTS)
    limits = " and ".join(f"{k}={v}" for k, v in TIMEOUTS.items())
    with ExitStack() as stack:
        other = stack.enter_context(rawhttp.Connection(app, timeout=6))
        other.send(rawhttp.GET.replace(b"/", b"/async", 1))
        started = time.monotonic()
        clients = {what: stack.enter_context(rawhttp.Connection(app)) for what in SLOW}
        unread = stack.enter_context(rawhttp.Connection(app, timeout=0.1, small=True))
        unread.send(rawhttp.GET * 2000)
        for what, client in clients.items():
            client.send(SLOW[what][0])
        ended = ends(clients, started + 6)

        def cut_off(what, _):
            did = f"a client that sends {what}, with {limits}"
            hint = "drips" if SLOW[what][1] else ""
            expect(what in ended, did, "still connected after 6 s", "cut off", hint)
            timeout = TIMEOUTS.get(SLOW[what][2], 0)
            got = f"cut off after {ended[what] - started:.1f} s"
            expect(ended[what] - started > timeout * 0.9, did, got, f"cut off after {timeout} s")
            heard = clients[what].heard
            last = heard.rpartition(b"HTTP/1.1 ")[2]
            sentence = re.search(rb'\{"message": ?".{6,}"\}', last)
            told = last[:3] == b"200" or (last[:3] in (b"408", b"400") and sentence) or not heard
            expected = '408 with {"message": a sentence}, or no answer'
            expect(told, did, f"{last[:60]!r}", expected, hint="message")

        expect_each(clients, cut_off)
        answer = other.reply()
        did = f"GET /async, which takes {SUPPLIER} s, with {limits}"
        got = answer or "no answer"
        expect(answer and answer.status == 200, did, got, "200", hint="slow_answer")
        did = f"a client that sends 2,000 × GET / and reads no answer, with {limits}"
        port = unread.socket.getsockname()[1]
        left = eventually(lambda: not is_connected(app, port), 5)
        expect(left, did, "still connected after 5 s", "cut off")
    with rawhttp.Connection(app) as refused:
        port = refused.send(rawhttp.get(b"Content-Length: 0x5")).socket.getsockname()[1]
        left = eventually(lambda: refused.send(b"a") and not is_connected(app, port), 5, every=0.1)
        did = "a client whose request was refused, and that goes on to send a byte at a time"
        expect(left, did, "still connected after 5 s", "cut off", hint="refused")


def ends(clients: dict, deadline: float) -> dict[str, float]:
    """When each client was cut off, if it was; until then it sends on what belongs to it."""
    ended: dict[str, float] = {}
    while len(ended) < len(clients) and time.monotonic() < deadline:
        for what in clients.keys() - ended.keys():
            if clients[what].is_ended(0.01):
                ended[what] = time.monotonic()
            clients[what].send(SLOW[what][1])
    return ended


TIMEOUTS = {"REQUEST_TIMEOUT": 0.4, "KEEP_ALIVE_TIMEOUT": 0.8, "SUPPLIER_DELAY": SUPPLIER}
# What a client sends at first, what it sends again and again, and the setting that ends it: none
# where a server may refuse it before.
SLOW = {
    "half a head": (rawhttp.HALF_A_HEAD, b"", "REQUEST_TIMEOUT"),
    "half a body": (rawhttp.HALF_A_BODY, b"", "REQUEST_TIMEOUT"),
    "half a chunk": (rawhttp.chunked(b"5\r\nab"), b"", "REQUEST_TIMEOUT"),
    "half a head, then a byte at a time": (rawhttp.HALF_A_HEAD, b"a", "REQUEST_TIMEOUT"),
    "half a head, then a line at a time": (rawhttp.HALF_A_HEAD, b"\r\nX-Filler: a", ""),
    "half a body, then a byte at a time": (rawhttp.HALF_A_LONG_BODY, b" ", "REQUEST_TIMEOUT"),
    "a chunk at a time": (rawhttp.chunked(b""), b"1\r\n \r\n", ""),
    "an empty line at a time": (b"\r\n", b"\r\n", ""),
    "nothing": (b"", b"", "KEEP_ALIVE_TIMEOUT"),
    "one request, and then nothing": (rawhttp.GET, b"", "KEEP_ALIVE_TIMEOUT"),
}


def test_slow_clients_leave_room(launch):
    app = launch(MAX_CLIENTS=20, SUPPLIER_DELAY=SUPPLIER)
    before = open_files(app)
    did = "60 clients send half a request and hang up, 60 more send one and stay, "
    did += "with MAX_CLIENTS=20, meanwhile GET /"
    with ExitStack() as stack:
        waiting = stack.enter_context(rawhttp.Connection(app, timeout=5))
        waiting.send(rawhttp.GET.replace(b"/", b"/async", 1))
        expect(first_answer(app, 5) is not None, did, "no answer before", "200")
        for _ in range(60):  # They have to be forgotten once they are gone.
            rawhttp.Connection(app).send(rawhttp.HALF_A_HEAD).close()
        for _ in range(60):
            stack.enter_context(rawhttp.Connection(app)).send(rawhttp.HALF_A_HEAD)
        answered = first_answer(app, 5)
        expect(answered is not None, did, "no answer", "200")
        few = eventually(lambda: open_files(app) <= before + 25, 5)
        expect(few, did, f"{open_files(app) - before} connections open", "about 20 at most")
        reply = waiting.reply()
        served = f"GET /async, which takes {SUPPLIER} s, then {did}"
        got = reply or "no answer"
        expect(reply and reply.status == 200, served, got, "200", hint="being_answered")
        late = [stack.enter_context(rawhttp.Connection(app, timeout=5)) for _ in range(5)]
        expect(first_answer(app, 5) is not None, did, "no answer", "200")  # All five are in.
        replies = [client.send(rawhttp.GET).reply() for client in late]
        served = sum(reply is not None and reply.status == 200 for reply in replies)
        did = "60 clients have sent half a request; 5 more connect, and then each asks GET /"
        expected = "5 answers: the one that has kept the server waiting for longest has to leave"
        expect(served == 5, did, f"{served} answers", expected)


def test_hostile_requests_leave_nothing_behind(app):
    did = f"{HOSTILE:,} malformed requests of 16 KB and hang-ups, {URLS:,} different URLs "
    did += "of 4 KB, while one client is silent"
    with rawhttp.Connection(app) as silent:
        silent.send(rawhttp.HALF_A_HEAD)
        expect(first_answer(app, 5) is not None, did, "no answer to GET / before", "200")
        for number in range(200):
            hostile_request(app, number)
        expect(first_answer(app, 5) is not None, did, "no answer to GET /", "200")
        before = memory(app), open_files(app), threads(app)
        for number in range(HOSTILE):
            hostile_request(app, number)
        with rawhttp.Connection(app) as client:
            for number in range(0, URLS // 2, 10):
                some = range(number, number + 10)
                paths = [path for n in some for path in (f"/{n}?{FILLER}", f"/?{n}{FILLER}")]
                client.send(b"".join(rawhttp.GET.replace(b"/", p.encode(), 1) for p in paths))
                last = [client.reply() for _ in paths][-1]
                if last is None:  # the server keeps no connection
                    break
        expect(first_answer(app, 5) is not None, did, "no answer to GET /", "200")
        few = eventually(lambda: open_files(app) <= before[1] + 5)
        expect(few, did, f"{open_files(app) - before[1]} more open files", "as many as before")
        grown = memory(app) - before[0]
        expect(grown < 6, did, f"{grown:.0f} MiB more memory", "no more than before")
        more = threads(app) - before[2]
        expect(more < 5, did, f"{more} more threads", "as many as before")
    for what, (first, again) in ENDLESS.items():
        before = memory(app)
        with rawhttp.Connection(app, timeout=5) as client:
            client.send(first)
            piece = again * (64 * 1024 // len(again))
            for _ in range(ENDLESS_BYTES // len(piece)):
                if client.is_ended(0.0001):
                    break
                client.send(piece)
            grown = memory(app) - before
        did = f"a client that sends {ENDLESS_BYTES // 2**20} MiB of {what}, unless it is cut off"
        expect(grown < 6, did, f"{grown:.0f} MiB more memory", "no more than before")


HOSTILE = 1000
URLS = 4000
FILLER = "x" * 3800
ENDLESS_BYTES = 16 * 2**20
# What a client sends at first, and what it then sends without end.
ENDLESS = {
    "one header": (rawhttp.HALF_A_HEAD, b"a"),
    "headers": (rawhttp.HALF_A_HEAD, b"\r\nX-Filler: a"),
    "first line": (b"GET /", b"a"),
    "small chunks": (rawhttp.chunked(b""), b"8\r\naaaaaaaa\r\n"),
    "one chunk": (rawhttp.chunked(b"7fffffff\r\n"), b"a"),
    "trailers": (rawhttp.chunked(b"0\r\n"), b"X-Filler: a\r\n"),
    "body": (rawhttp.get(b"Content-Length: 2000000000"), b"a"),
}


def hostile_request(app, number: int) -> None:
    """One of several kinds; returns once the server has hung up, or at once after hanging up."""
    filler = b"X-Filler: " + b"x" * 4000
    with rawhttp.Connection(app) as client:
        if number % 4 == 0:
            client.send(rawhttp.get(filler, filler, filler, filler)[:-2])
        else:
            client.send(rawhttp.get(filler, filler, filler, filler, b"Content-Length: five"))
            did = "GET / with 16 KB of headers and Content-Length: five"
            expect(client.is_ended(), did, "no end of the connection", "a hang-up")


def test_draining_ends_kept_connections(launch, db, product, services):
    app = launch(fresh=True, SUPPLIER_DELAY=SUPPLIER)
    did = "an order and GET /async are in flight and a client has a kept connection, then SIGINT, "
    did += "as Ctrl-C sends"
    with rawhttp.Connection(app) as kept, rawhttp.Connection(app, timeout=5) as asking:
        kept.send(rawhttp.GET).reply()
        with held_order(app, db, product, services) as order:
            asking.send(rawhttp.GET.replace(b"/", b"/async", 1))
            expect(first_answer(app, 5) is not None, did, "no answer before SIGINT", "200")
            app.server.process.send_signal(signal.SIGINT)
            refused = eventually(lambda: first_answer(app, 1) is None, 5)
            got = "a new client was answered"
            expect(refused, did, got, "no new connection is accepted", hint="new_clients")
            last = kept.send(rawhttp.GET).reply()
            told = last is None or last.headers.get("Connection", "").lower() == "close"
            expect(told, did, "another answer without Connection: close", "Connection: close")
        answer = order()
        supplied = asking.reply()
    got = answer or "no answer"
    expect(answer and answer.status == 201, did, got, "201 for the order", hint="order_lost")
    got = supplied or "no answer"
    expect(supplied and supplied.status == 200, did, got, "200 for GET /async", hint="reads")


def test_restart_waits_for_no_idle_client(launch):
    app = launch(fresh=True, GRACEFUL_TIMEOUT=30)
    did = "an idle client and two with half a request, then SIGTERM, with GRACEFUL_TIMEOUT=30"
    with ExitStack() as stack:
        for part in (rawhttp.HALF_A_HEAD, rawhttp.HALF_A_BODY, rawhttp.GET):
            stack.enter_context(rawhttp.Connection(app)).send(part)
        expect(first_answer(app, 5) is not None, did, "no answer to GET / before", "200")
        app.server.process.send_signal(signal.SIGTERM)
        ended = eventually(lambda: is_over(app), 10)
        expect(ended, did, "a process that runs 10 s later", "it ends: nothing is in flight")


def test_graceful_timeout_is_a_bound(launch, db, product, services):
    app = launch(fresh=True, GRACEFUL_TIMEOUT=0.5)
    did = "an order is in flight for good, then SIGTERM, with GRACEFUL_TIMEOUT=0.5"
    with held_order(app, db, product, services):
        app.server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        ended = eventually(lambda: is_over(app), 10)
        waits = (time.monotonic() - started) / 0.5
        expect(ended, did, "a process that runs 10 s later", "it ends after half a second")
        got = f"it ended after {waits:.1f} times that"
        expect(waits >= 0.9, did, got, "it leaves the order half a second")
        expect(waits < 6, did, got, "it ends after half a second; at any rate in less than 6 times")
    code = app.server.process.returncode
    got = f"exit code {code}"
    expect(code == 0, did, got, "0: it ended by itself", hint="killed" if code < 0 else "")


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
