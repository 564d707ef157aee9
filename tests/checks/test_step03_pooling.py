"""Step 3: connections are kept open, lent for as long as they are needed, and never run out."""

import time

import httpx
import pytest
from activity import at_rest, backends, hung, pause, queued, working
from blackbox import Answer, Request, amount, counts, eventually, expect
from bursts import Burst, order_request
from locks import WAITING

CAPACITY = 15  # pool_size 10 and max_overflow 5


def test_connections_are_capped(app, db, product, locked):
    did = f"{CLIENTS} clients order at once a product whose row is locked"
    with locked(product["id"]):
        orders = Burst(app, [order_request(app, product)] * CLIENTS)
        reached = eventually(lambda: len(backends(app, db)) >= CAPACITY)
        most = max(len(backends(app, db)) for _ in pause(1))
    answers = counts(orders.answers())
    got = f"{amount(most, 'connection')} to PostgreSQL"
    expect(reached, did, got, f"{CAPACITY} of them", hint="too_few")
    expect(most <= CAPACITY, did, got, f"{CAPACITY} at the most")
    expect(
        answers == f"{CLIENTS} × 201",
        f"{did}, then unlocked it",
        answers,
        f"{CLIENTS} × 201: who waited for a connection gets one",
        hint="not_served",
    )
    eventually(lambda: len(backends(app, db)) <= 10)
    left = len(backends(app, db))
    got = f"{amount(left, 'connection')} open"
    did += ", and all have their answers"
    expect(left == 10, did, got, "10 kept for the next", hint="not_kept")


CLIENTS = 100


def test_connections_are_used_again(app, db, product):
    path = f"/products/{product['id']}"
    app.get(path)
    first, seen = backends(app, db), set()
    for number in range(200):
        answer = app.get(path)
        expect(answer.status == 200, f"GET {path}", answer, "200")
        if number % 10 == 0:
            seen |= backends(app, db)
    did = f"200 × GET {path}, one after another"
    kept = len(first & backends(app, db))
    seen_in_all = amount(len(seen), "connection")
    got = f"{seen_in_all} seen, {kept} of them open from the first to the last request"
    expected = f"{CAPACITY} seen at the most, and 1 open all the time at the least"
    expect(len(seen) <= CAPACITY and kept, did, got, expected)


def test_connections_tell_the_step(app, db, product, locked):
    step = app.get("/").json()["step"]
    with locked(product["id"]):
        order = Burst(app, [order_request(app, product)])
        eventually(lambda: queued(app, db))
        names = {row[1] for row in queued(app, db)}
    order.answers()
    expect(
        names == {step},
        "one order works in PostgreSQL; looked at application_name in pg_stat_activity",
        ", ".join(name or "(empty)" for name in names) or "no query at work",
        step,
    )


def test_wait_holds_no_connection(hurried, db, product):
    path, wait = f"/quote/{product['id']}", 2
    did = f"40 × GET {path} at once, each waits {wait} s for the supplier"
    hurried.together([Request("GET", f"/products/{product['id']}")] * 20)  # opens connections
    started = time.monotonic()
    quotes = Burst(hurried, [Request("GET", path)] * 40)
    time.sleep(wait / 4)
    free = None
    while not free and not quotes.over(0):
        free = at_rest(hurried, db)
    lent = len(working(hurried, db))
    answers = counts(quotes.answers())
    waits = (time.monotonic() - started) / wait
    lent_now = f"{amount(lent, 'connection')} in use while the requests waited"
    got = lent_now if lent else "no connection was kept open"
    expect(answers == "40 × 200", did, answers, "40 × 200")
    expect(free, did, got, "connections that are open, and none of them in use")
    expect(waits < 2.5, did, f"all answered after {waits:.1f} waits", "about 1 wait, less than 2.5")


def test_full_pool_is_a_503(hurried, db, product, locked):
    path = f"/products/{product['id'] + 1}"
    did = f"{CAPACITY} orders hold a connection each, POOL_TIMEOUT is 1 s, then GET {path}"
    with locked(product["id"]):
        orders = Burst(hurried, [order_request(hurried, product)] * CAPACITY)
        holding = eventually(lambda: len(queued(hurried, db)) == CAPACITY)
        answer = ask(hurried, path, timeout=5)
        unwaited = hurried.get("/")
    answers = counts(orders.answers())
    expect(holding, did, "fewer than that in PostgreSQL", f"{CAPACITY} that wait for a locked row")
    expect(answer, did, "no answer within 5 s", "503 after 1 s", hint="waits_too_long")
    expect_503(answer, did)
    expect(unwaited.status == 200, "the pool is full, then GET /", unwaited, "200")
    expect(answers == f"{CAPACITY} × 201", "unlocked the row", answers, f"{CAPACITY} × 201")
    answer = hurried.get(path)
    expect(answer.status == 200, f"the orders are done, then GET {path}", answer, "200")


def test_dead_connections_cost_nobody(app, db, product):
    requests = [Request("GET", f"/products/{product['id']}")] * 20
    app.together(requests)
    dead = eventually(lambda: at_rest(app, db), 3)
    expect(dead, "20 requests, then looked for connections", "none is open", "some kept open")
    db.query("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", sorted(dead))
    eventually(lambda: not backends(app, db))
    answers = counts(app.together(requests)[0])
    did = f"PostgreSQL ended all {len(dead)} connections, then the same 20 requests"
    expect(answers == "20 × 200", did, answers, "20 × 200")
    new = eventually(lambda: at_rest(app, db), 3)
    expect(new, did, "no connection is open", "new ones, kept open")


def test_stopped_postgresql_empties_the_pool(app, db, product, locked, services):
    did = "20 orders wait, for a locked row or for a connection, then PostgreSQL stops"
    with locked(product["id"]):
        orders = Burst(app, [order_request(app, product)] * 20)
        eventually(lambda: len(working(app, db)) >= CAPACITY)
        most = max(len(working(app, db)) for _ in pause(0.3))
        services.postgres.stop(mode="immediate")
    try:
        answers = orders.answers()
    finally:
        services.postgres.start()
    expect(
        most == CAPACITY,
        did,
        f"{amount(most, 'order')} in PostgreSQL",
        f"{CAPACITY}; the others wait",
    )
    expect(counts(answers) == "20 × 503", did, counts(answers), "20 × 503")
    requests = [Request("GET", f"/products/{product['id']}")] * 40
    answers = counts(app.together(requests)[0])
    expect(answers == "40 × 200", "started it again, then 40 requests", answers, "40 × 200")


def test_failed_request_gives_its_connection_back(app, db, product):
    sold_out = {"product_id": product["id"], "quantity": 5000}
    unknown = {"product_id": 10**9, "quantity": 1}
    requests = [order_request(app, body) for body in (sold_out, unknown)] * 20
    missing = [f"/orders/{10**9 + number}" for number in range(5)]
    requests += [Request("GET", path, headers=app.authorization()) for path in missing]
    answers = counts(app.together(requests)[0])
    did = "20 orders of too many items, 20 of no product, and 5 × GET of an order that is not there"
    expect(answers == "25 × 404, 20 × 409", did, answers, "25 × 404, 20 × 409")
    kept = eventually(lambda: at_rest(app, db), 3)
    left = len(working(app, db))
    still_open = f"still open: {amount(left, 'transaction')}"
    got = still_open if left else "no connection was kept open"
    expect(kept, did, got, "connections that are open, and none in a transaction")


def test_long_query_is_ended(limited, db, product, locked):
    did = "an order waits for a locked row, STATEMENT_TIMEOUT is 1 s"
    with locked(product["id"]):
        order = Burst(limited, [order_request(limited, product)])
        # On a busy machine it may come and be ended between two looks.
        arrived = eventually(lambda: db.value(WAITING) or order.over(0))
        ended = eventually(lambda: not db.value(WAITING), 6)
    answer = order.answers()[0]
    expect(arrived, did, "no query in PostgreSQL", "one that waits")
    expect(ended, did, "the query still runs after 6 s", "PostgreSQL ends it after 1 s")
    expect_503(answer, did)
    again = eventually(lambda: limited.order(product["id"], 1).status == 201, every=0.2)
    expect(again, "unlocked the row and ordered again", "no order was taken", "201")


def test_hung_postgresql_holds_nobody(limited, db, product, services):
    path = f"/products/{product['id']}"
    limited.get(path)
    did = "PostgreSQL hangs (SIGSTOP), STATEMENT_TIMEOUT is 1 s, then 5 requests at once"
    with hung([services.postgres.pid(), *backends(limited, db)]):
        requests = Burst(limited, [Request("GET", path)] * 5)
        answered = requests.over(12)
    answers = counts(requests.answers())
    expect(answered, did, "no answer to some of them within 12 s", "5 × 503")
    expect(answers == "5 × 503", did, answers, "5 × 503")
    again = eventually(lambda: limited.get(path).status == 200, every=0.2)
    expect(again, f"PostgreSQL goes on, GET {path}", limited.get(path), "200")


@pytest.fixture
def hurried(launch):
    """The app with a slow supplier and little patience for a full pool."""
    return launch(SUPPLIER_DELAY=2, POOL_TIMEOUT=1)


@pytest.fixture
def limited(launch):
    """The app whose queries may take one second."""
    return launch(STATEMENT_TIMEOUT=1)


def ask(app, path: str, timeout: float) -> Answer | None:
    """The answer, or None where none came in time (seconds)."""
    try:
        reply = app.client.get(path, timeout=timeout)
    except httpx.HTTPError:
        return None
    return Answer(reply.status_code, reply.headers, reply.content, reply.elapsed.total_seconds())


def expect_503(answer: Answer | None, did: str) -> None:
    got = f"status {answer.status}" if answer else "no answer"
    expect(answer and answer.status == 503, did, got, "503")
    retry = answer.headers.get("Retry-After", "")
    got = f"Retry-After: {retry or '(none)'}"
    expect(retry.isdigit(), did, got, "Retry-After: seconds", hint="retry_after")
