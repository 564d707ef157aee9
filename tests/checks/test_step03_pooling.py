"""Step 3: connections are kept open, lent for as long as they are needed, and never run out."""

import time

import pytest
from activity import at_rest, backends, hung, pause, queued, working
from blackbox import Answer, Request, amount, counts, eventually, expect, expect_error
from bursts import Burst, order_request
from locks import ASLEEP, WAITING, row_locked, slow_orders
from usage import cpu_seconds

CAPACITY = 15  # pool_size 10 and max_overflow 5
FULL = 1  # seconds to wait for a connection of a full pool


def test_connections_are_capped(app, db, product, orders_locked):
    did = f"{ORDERS} clients order and {REPORTS} ask GET /data at once, while the orders are locked"
    requests = [order_request(app, product)] * ORDERS + [Request("GET", "/data")] * REPORTS
    with orders_locked():
        burst = Burst(app, requests)
        reached = eventually(lambda: len(backends(app, db)) >= CAPACITY)
        most = max(len(backends(app, db)) for _ in pause(0.5))
    answers = counts(burst.answers())
    got = f"{amount(most, 'connection')} to PostgreSQL"
    expect(reached, did, got, f"{CAPACITY} of them", hint="too_few")
    expect(most <= CAPACITY, did, got, f"{CAPACITY} at the most")
    expect(
        answers == f"{REPORTS} × 200, {ORDERS} × 201",
        f"{did}, then unlocked them",
        answers,
        f"{REPORTS} × 200, {ORDERS} × 201: a request that waited for a connection gets one",
        hint="not_served",
    )
    eventually(lambda: len(backends(app, db)) <= 10)
    left = len(backends(app, db))
    got = f"{amount(left, 'connection')} open"
    did += ", and all have their answers"
    expect(left == 10, did, got, "10 kept for the next", hint="not_kept")


ORDERS, REPORTS = 90, 10


def test_connections_are_used_again(app, db, product):
    path = f"/products/{product['id']}"
    app.get(path)
    dear = "UPDATE products SET stock = 1000000, price_cents = 10000 WHERE id = %s"
    db.query(dear, product["id"])
    first, looks = backends(app, db), []
    for number in range(200):
        answer = app.get(path)
        expect(answer.status == 200, f"GET {path}", answer, "200")
        if number % 10 == 0:
            quantity = FAILURES[number // 10 % len(FAILURES)]
            answer = app.order(product["id"], quantity)
            expect(answer.status < 500, f"POST /orders for {quantity} items", answer, "a 4xx")
            looks.append(backends(app, db))
    did = f"200 × GET {path}, one after another, among them 20 orders that fail"
    kept, seen = len(first & looks[-1]), len(set.union(*looks))
    new = len(set.union(*looks[10:]) - set.union(*looks[:10]))
    got = f"{amount(seen, 'connection')} seen, {new} of them new in the second half, "
    got += f"{kept} open from the first to the last request"
    expected = f"{CAPACITY} seen at the most, 2 new ones, 1 open all the time at the least"
    expect(seen <= CAPACITY and new <= 2 and kept, did, got, expected)


FAILURES = [  # quantities: the total doesn't fit into its column, or there are too few items
    9 * 10**5,
    2 * 10**6,
]


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


def test_wait_holds_no_connection(launch, db, product):
    path, wait = f"/quote/{product['id']}", 1
    app = launch(SUPPLIER_DELAY=wait)
    did = f"40 × GET {path} at once, each waits {wait} s for the supplier"
    app.together([Request("GET", f"/products/{product['id']}")] * 20)  # opens connections
    started = time.monotonic()
    quotes = Burst(app, [Request("GET", path)] * 40)
    time.sleep(wait / 4)
    free = None
    while not free and not quotes.over(0):
        free = at_rest(app, db)
    lent = len(working(app, db))
    answers = counts(quotes.answers())
    waits = (time.monotonic() - started) / wait
    lent_now = f"{amount(lent, 'connection')} in use while the requests waited"
    got = lent_now if lent else "no connection was kept open"
    expect(answers == "40 × 200", did, answers, "40 × 200")
    expect(free, did, got, "connections that are open, and none of them in use")
    expect(waits < 2.5, did, f"all answered after {waits:.1f} waits", "about 1 wait, less than 2.5")


def test_full_pool_is_a_503(hurried, db, product, locked):
    path = f"/products/{product['id'] + 1}"
    did = f"{CAPACITY} orders hold a connection each, POOL_TIMEOUT is {FULL} s, then GET {path}"
    with locked(product["id"]):
        orders = Burst(hurried, [order_request(hurried, product)] * CAPACITY)
        holding = eventually(lambda: len(queued(hurried, db)) == CAPACITY)
        for _ in range(3):  # a busy machine may delay one answer, a wrong timeout delays each
            before = cpu_seconds(hurried)
            both = Burst(hurried, [Request("GET", path), Request("GET", "/async")])
            in_time = both.over(5)
            busy = cpu_seconds(hurried) - before
            if not in_time or (all(both.found) and both.found[0].seconds < both.found[1].seconds):
                break
        unwaited = hurried.get("/")
    answers = counts(orders.answers())
    answer, supplied = both.answers()
    expect(holding, did, "fewer than that in PostgreSQL", f"{CAPACITY} that wait for a locked row")
    got = "no answer within 5 s"
    expected = f"503 after {FULL} s"
    expect(in_time and answer and supplied, did, got, expected, hint="waits_too_long")
    expect_503(answer, did)
    got = f"503 after {answer.seconds:.1f} s"
    expect(answer.seconds > FULL * 0.9, did, got, f"503 after {FULL} s")
    did = f"{did}, and at the same time GET /async, which takes {1.5 * FULL} s"
    expect(answer.seconds < supplied.seconds, did, f"{got}, as the second", "503 first")
    got = f"busy for {busy / FULL:.0%} of POOL_TIMEOUT"
    expect(busy < FULL / 4, did, got, "little of the processor's time: requests that wait")
    expect(unwaited.status == 200, "the pool is full, then GET /", unwaited, "200")
    expect(answers == f"{CAPACITY} × 201", "unlocked the row", answers, f"{CAPACITY} × 201")
    answer = hurried.get(path)
    expect(answer.status == 200, f"the orders are done, then GET {path}", answer, "200")


def test_dead_connections_cost_nobody(launch, db, product):
    app = launch(fresh=True)  # Its pool may keep dead connections, which other checks would meet.
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


@pytest.mark.usefixtures("dead_connections_met")
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


def test_failed_request_gives_its_connection_back(app, db, product, locked):
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
    expect_no_setting_kept(app, db, product)
    did = f"{HELD} orders hold a connection each, PostgreSQL ends another's, then {HELD} more"
    with locked(product["id"]):
        doomed = Burst(app, [order_request(app, product)])
        ended = eventually(lambda: queued(app, db))
        orders = Burst(app, [order_request(app, product)] * HELD)
        eventually(lambda: len(queued(app, db)) == HELD + 1)
        for pid, *_ in ended or []:
            db.query("SELECT pg_terminate_backend(%s, 5000)", pid)
        doomed.answers()
        more = Burst(app, [order_request(app, product)] * HELD)
        eventually(lambda: len(backends(app, db)) > CAPACITY, 0.4)
        most = len(backends(app, db))
    answers = counts(orders.answers() + more.answers())
    got = f"{amount(most, 'connection')} to PostgreSQL"
    expect(most <= CAPACITY, did, got, f"{CAPACITY} at the most", hint="new_pool")
    expect(answers == f"{2 * HELD} × 201", f"{did}, unlocked", answers, f"{2 * HELD} × 201")


HELD = 9


def expect_no_setting_kept(app, db, product):
    """The next request that borrows a connection finds it as it was opened."""
    key = {"Idempotency-Key": f"kilim-{product['id']}"}
    order = {"product_id": product["id"], "quantity": 1}
    paths = (f"/products/{product['id']}", f"/quote/{product['id']}", "/data", "/orders/1")

    def ask():
        app.post("/orders", order, headers=key | app.authorization())
        app.post("/orders", order | {"quantity": 5000}, headers=app.authorization())
        for path in paths:
            app.get(path, headers=app.authorization())

    app.together([Request("GET", paths[0])] * 20)  # From now on, connections are open.
    before = settings_changed(db)
    ask()
    more = {text for text, calls in settings_changed(db).items() if calls > before.get(text, 0)}
    undone = any(text.upper().startswith(("RESET", "DISCARD")) for text in more)
    kept = sorted(text for text in more if not undone)
    got = ", ".join(kept)[:60]
    did = "orders and reads on connections that are open"
    expect(not kept, did, f"PostgreSQL was told: {got}", "no SET, or SET LOCAL", hint="settings")


def settings_changed(db) -> dict[str, int]:
    """How often each statement has run that changes or undoes a setting of the connection."""
    rows = db.query(
        "SELECT query, sum(calls)::int FROM pg_stat_statements"
        " JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = 'workshop'"
        " AND query ~* '^\\s*(SET|RESET|DISCARD)\\M'"
        " AND query !~* '^\\s*SET\\s+(LOCAL|TRANSACTION)'"
        " GROUP BY query"
    )
    return dict(rows)


def test_long_query_is_ended(launch, db, product, locked, orders_locked, redis):
    limited = launch(STATEMENT_TIMEOUT=LIMIT, POOL_SIZE=2, MAX_OVERFLOW=0, POOL_TIMEOUT=0)
    limited.get("/data")  # One of the connections that the orders use has made a report before.
    did = f"GET /data, then 2 orders wait for a locked row; STATEMENT_TIMEOUT is {LIMIT} s"
    with locked(product["id"]):
        order = Burst(limited, [order_request(limited, product)] * 2)
        # On a busy machine it may come and be ended between two looks.
        arrived = eventually(lambda: db.value(WAITING) or order.over(0))
        ended = eventually(lambda: not db.value(WAITING), 6)
    expect(arrived, did, "no query in PostgreSQL", "one that waits")
    expect(ended, did, "a query still runs after 6 s", f"PostgreSQL ends it after {LIMIT} s")
    for answer in order.answers():
        expect_503(answer, did)
        got = f"503 after {answer.seconds:.1f} s"
        expect(answer.seconds > LIMIT * 0.9, did, got, f"503 after {LIMIT} s")
    for _ in range(3):  # On a busy machine the orders may end before it comes.
        full = at_full_pool(limited, db, product, locked)
        if full.status == 503:
            break
    told = "2 orders hold all connections, POOL_TIMEOUT is 0: GET /products/<id>"
    got = f"{full.status}"
    expect(full.status == 503, told, got, "503: nobody waits for a connection", hint="zero")
    redis.flushall()
    did = f"GET /data, which waits for a locked table; STATEMENT_TIMEOUT is {LIMIT} s"
    with orders_locked():
        report = Burst(limited, [Request("GET", "/data")])
        answered = report.over(12)
        ended = eventually(lambda: not db.value(WAITING), 1)
    expect(answered, did, "no answer within 12 s", f"503 after {LIMIT} s", hint="report")
    expect_503(report.answers()[0], did)
    got = "PostgreSQL works on after the 503"
    expect(ended, did, got, f"PostgreSQL ends it after {LIMIT} s", hint="report")
    did = f"POST /orders, for which PostgreSQL works 8 s; STATEMENT_TIMEOUT is {LIMIT} s"
    with slow_orders(db, 8):
        answer = limited.order(product["id"], 1)
        ended = eventually(lambda: not db.value(ASLEEP), 2)
    expect_503(answer, did)
    expect(ended, did, "PostgreSQL works on after the 503", f"PostgreSQL ends it after {LIMIT} s")
    again = eventually(lambda: limited.order(product["id"], 1).status == 201, every=0.2)
    expect(again, "unlocked the row and ordered again", "no order was taken", "201")


def at_full_pool(app, db, product, locked) -> Answer:
    """What GET /products/<id> gives while two orders wait in PostgreSQL."""
    with locked(product["id"]):
        orders = Burst(app, [order_request(app, product)] * 2)
        eventually(lambda: db.value(WAITING) == 2 or orders.over(0))
        answer = app.get(f"/products/{product['id'] + 1}")
    orders.answers()
    return answer


def test_hung_postgresql_holds_nobody(launch, db, product, services):
    limited = launch(fresh=True, STATEMENT_TIMEOUT=LIMIT)
    limited.authorization()
    path = f"/products/{product['id']}"
    did = f"3 orders wait in PostgreSQL, which hangs (SIGSTOP), then 3 × GET {path}; "
    did += f"STATEMENT_TIMEOUT is {LIMIT} s"
    with row_locked(services, product["id"]):
        orders = Burst(limited, [order_request(limited, product)] * 3)
        eventually(lambda: len(queued(limited, db)) == 3 or orders.over(0))
        with hung([services.postgres.pid(), *backends(limited, db)]):
            requests = Burst(limited, [Request("GET", path)] * 3)
            answered = requests.over(10) and orders.over(1)
    answers = counts(orders.answers() + requests.answers())
    expect(answered, did, "no answer to some of them within 10 s", "6 × 503")
    expect(answers == "6 × 503", did, answers, "6 × 503")
    again = eventually(lambda: limited.get(path).status == 200, every=0.2)
    expect(again, f"PostgreSQL goes on, GET {path}", limited.get(path), "200")


LIMIT = 0.5  # seconds that a query may take


@pytest.fixture
def hurried(launch):
    """The app with little patience for a full pool."""
    return launch(SUPPLIER_DELAY=1.5 * FULL, POOL_TIMEOUT=FULL)


def expect_503(answer: Answer | None, did: str) -> None:
    expect_error(answer, did, 503)
    retry = answer.headers.get("Retry-After", "")
    got = f"Retry-After: {retry or '(none)'}"
    expect(retry.isdigit(), did, got, "Retry-After: seconds", hint="retry_after")
