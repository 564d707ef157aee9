"""Step 1: the contract of the shop's API, its errors included. It holds in every later step."""

import json
import re
import socket
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
import rawhttp
from activity import backends, queued
from blackbox import SUPPLIER, Request, amount, counts, eventually, expect, expect_error
from bursts import Burst
from locks import changed_elsewhere, row_locked, rows_locked, table_locked
from postgres_proxy import proxied
from refused import BAD_ORDERS, BAD_ROUTES, IDEMPOTENCY_KEYS, INJECTIONS, JSON, NUMBER
from usage import cpu_seconds


@pytest.fixture
def app(launch):
    """A supplier slow enough to be timed."""
    return launch(SUPPLIER_DELAY=SUPPLIER)


def test_root_tells_the_step(app):
    answer = app.get("/")
    body = answer.json()
    expect(
        answer.status == 200 and set(body or ()) == {"step", "technique"},
        "GET /",
        answer,
        '200 with {"step": …, "technique": …}',
    )


def test_supplier_is_awaited(app):
    app.needs_settings()
    before = cpu_seconds(app)
    answer = app.get("/async")
    busy = cpu_seconds(app) - before
    expect_one_wait(answer, "GET /async")
    pattern = r"This is an? (a?synchronous) API response!"
    expect(
        answer.status == 200 and re.fullmatch(pattern, (answer.json() or {}).get("message", "")),
        "GET /async",
        answer,
        '200 with {"message": "This is … API response!"}',
    )
    did = f"GET /async, which waits {SUPPLIER} s; looked at the processor's time of the app"
    got = f"busy for {busy / SUPPLIER:.0%} of the wait"
    expect(
        busy < SUPPLIER / 4, did, got, "next to nothing: a request that waits needs no processor"
    )


QUICK = 0.05  # seconds; a supplier that is soon done


def test_supplier_delay_is_obeyed(launch):
    app = launch(SUPPLIER_DELAY=QUICK)
    best = min(app.get("/async").seconds for _ in range(5))
    expect(
        QUICK <= best < SUPPLIER,
        f"5 × GET /async with SUPPLIER_DELAY={QUICK}",
        f"the quickest answer after {best / QUICK:.1f} waits",
        "1 wait and little more; at any rate less than 10",
    )


def test_host_is_obeyed(launch, try_to_start):
    app = launch()
    started, _ = try_to_start(HOST="192.0.2.1")  # an address for documentation, no machine's own
    did = "started the app with HOST=192.0.2.1, an address that this machine doesn't have"
    expect(not started, did, "an app that answers on 127.0.0.1", "an app that can't start")
    process = psutil.Process(app.server.process.pid)
    sockets = [c for p in [process, *process.children(True)] for c in p.net_connections("tcp")]
    hosts = sorted({c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN})
    did = "started the app without HOST, and looked at the addresses where it listens"
    local = all(host.startswith(("127.", "::1", "::ffff:127.")) for host in hosts)
    expect(hosts and local, did, ", ".join(hosts) or "(none)", "127.0.0.1 only")
    did = "bound a second socket to the app's address and port, with SO_REUSEPORT"
    expected = "an error: half of the clients would talk to whatever else listens there"
    expect(not can_be_shared(app.server.port), did, "no error", expected)


def can_be_shared(port: int) -> bool:
    """Whether a second server could listen there unnoticed."""
    with closing(socket.socket()) as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            second.bind(("127.0.0.1", port))
            second.listen()
        except OSError:
            return False
        return True


def test_product_is_one_row(app, db, product):
    path = f"/products/{product['id']}"
    answer, calls, rows = db.cost("%products%", lambda: app.get(path))
    expect(
        answer.status == 200 and answer.json() == product,
        f"GET {path}",
        answer,
        f"200 with the row that PostgreSQL has: {product}",
    )
    got = f"{amount(calls, 'statement')} on products, {amount(rows, 'row')}"
    expect(calls <= 1 and rows <= 1, f"GET {path}", got, "one statement that gives one row")
    sold = product | {"stock": product["stock"] - 1}
    with changed(db, product, stock=sold["stock"]):
        again = app.get(path)
    expect(
        again.json() == sold,
        f"GET {path}, sold one item in PostgreSQL, GET {path}",
        "the old row" if again.body == answer.body else again,
        f"the row as it is now, with a stock of {sold['stock']}",
    )
    renamed = {"name": "Another Name", "category": "Food", "price_cents": 1}
    with changed(db, product, **renamed):
        answer = app.get(path)
    did = f"GET {path}, changed name, category and price in PostgreSQL, GET {path}"
    expect(answer.json() == product | renamed, did, answer, "the row as it is now")
    again = app.get(path)
    head = app.request("HEAD", path)
    same = head.headers.get("Content-Length") == again.headers.get("Content-Length")
    expect(
        head.status == 200 and same and not head.body,
        f"HEAD {path}",
        head,
        "200 with the headers of GET and no body",
    )
    expect_late_product(app, db)


def expect_late_product(app, db):
    """A product that was asked for in vain is found once it is there, and only as long as it is."""
    path = "/products/5001"
    expect_error(app.get(path), f"GET {path}", 404)
    db.query("INSERT INTO products VALUES (5001, 'Late Lamp', 'Office', 990, 3)")
    try:
        answer = app.get(path)
    finally:
        db.query("DELETE FROM products WHERE id = 5001")
    did = f"GET {path}, added product 5001 in PostgreSQL, GET {path}"
    expect(answer.status == 200, did, answer, "200 with the product")
    expect_error(app.get(path), f"{did}, deleted it, GET {path}", 404)


@contextmanager
def changed(db, product, **columns):
    """These columns of the product have other values in PostgreSQL until the block ends."""
    names = ", ".join(f"{column} = %s" for column in columns)
    update = f"UPDATE products SET {names} WHERE id = %s"
    db.query(update, *columns.values(), product["id"])
    try:
        yield
    finally:
        db.query(update, *(product[column] for column in columns), product["id"])


@pytest.mark.parametrize("path", ["/products/0", "/products/5001", "/products/" + NUMBER[:18]])
def test_missing_product_is_a_404(app, path):
    expect_error(app.get(path), f"GET {path}", 404)


def test_quote_is_the_price(app, db, launch, product):
    path = f"/quote/{product['id']}"
    answer = app.get(path)
    expected = {"product_id": product["id"], "price_cents": product["price_cents"]}
    expect(
        answer.status == 200 and answer.json() == expected,
        f"GET {path}",
        answer,
        f"200 with {expected}",
    )
    expect_one_wait(answer, f"GET {path}")
    expect_error(app.get("/quote/0"), "GET /quote/0", 404)
    with changed(db, product, price_cents=1):
        answer = app.get(path)
    did = f"GET {path}, changed the price in PostgreSQL, GET {path}"
    expect(answer.json() == expected | {"price_cents": 1}, did, answer, "the price as it is now")


def test_requests_share_nothing(launch, db, services):
    app, ids = launch(), range(1, 9)
    answers, _ = app.together([Request("GET", f"/quote/{id}") for id in ids])
    did = "8 × GET /quote/<id> at once, each for another product"
    expect(counts(answers) == "8 × 200", did, counts(answers), "8 × 200")
    told = [(answer.json() or {}).get("product_id") for answer in answers]
    expect(told == list(ids), did, f"product_id {told}", f"product_id {list(ids)}")
    did = "8 × POST /orders at once, each for another product"
    bodies = [{"product_id": id, "quantity": id} for id in ids]
    orders = [Request("POST", "/orders", body, app.authorization()) for body in bodies]
    with rows_locked(services, ids):
        burst = Burst(app, orders)
        wanted = 8 if app.step.is_concurrent else 1
        eventually(lambda: len(queued(app, db)) >= wanted, 2)
    answers = burst.answers()
    expect(counts(answers) == "8 × 201", did, counts(answers), "8 × 201")
    placed = [answer.json() or {} for answer in answers]
    told = [{key: order.get(key) for key in ("product_id", "quantity")} for order in placed]
    numbers = [order.get("id") for order in placed]
    own = told == bodies and len(set(numbers)) == 8
    expect(own, did, f"orders {numbers} of {told}", f"8 different orders, of {bodies}")


def test_report_adds_up(app, db, redis):
    rows = db.query(
        "SELECT category, count(*), sum(total_cents)::bigint FROM orders"
        " JOIN products ON products.id = product_id GROUP BY category ORDER BY category"
    )
    expected = [dict(zip(("category", "orders", "revenue_cents"), r, strict=True)) for r in rows]
    answer, calls, rows = db.cost("%orders%", lambda: app.get("/data"))
    report = (answer.json() or {}).get("report")
    expect(answer.status == 200 and report, "GET /data", answer, '200 with {"report": […], …}')
    expect(
        report == expected,
        "GET /data",
        f"{amount(len(report), 'category', 'categories')}, the first {report[0]}",
        f"{len(expected)} categories as in PostgreSQL, the first {expected[0]}",
    )
    got = f"{amount(calls, 'statement')} on orders, {amount(rows, 'row')}"
    few = calls <= 3 and rows <= 100
    expect(few, "GET /data", got, "PostgreSQL adds up: a statement or two, a row for a category")
    db.query("INSERT INTO products VALUES (5002, 'Old Clock', 'Antiques', 300, 3)")
    order = placed_elsewhere(db, app, 5002)
    redis.flushall()  # From step 4 on the report is kept there, for as long as the step says.
    again = (app.get("/data").json() or {}).get("report") or []
    db.query("DELETE FROM orders WHERE id = %s", order)
    db.query("DELETE FROM products WHERE id = 5002")
    redis.flushall()
    did = "GET /data, placed the first order of a new category in PostgreSQL, GET /data"
    new = [row for row in again if row not in expected]
    wanted = [{"category": "Antiques", "orders": 1, "revenue_cents": 250}]
    expect(new == wanted and len(again) > len(expected), did, f"{new} is new", f"{wanted} is new")


def placed_elsewhere(db, app, product_id: int = 9) -> int:
    """The id of an order for one item that another process has placed."""
    owner = "admin" if app.step.has_login else None
    return db.value(
        "INSERT INTO orders (product_id, quantity, total_cents, customer)"
        " VALUES (%s, 1, 250, %s) RETURNING id",
        product_id,
        owner,
    )


def test_report_is_dated(app):
    answer = app.get("/data")
    when = (answer.json() or {}).get("generated_at")
    expect(
        is_recent_utc(when),
        "GET /data, in a process whose local time isn't UTC",
        f"generated_at {when!r}",
        "the time of the report in UTC, as ISO 8601, with its offset",
    )


def test_order_is_kept(app, db, product):
    did = f"POST /orders for 3 items of product {product['id']}"
    answer = app.order(product["id"], 3)
    order = answer.json() or {}
    total = 3 * product["price_cents"]
    wanted = {
        "id": order.get("id"), "product_id": product["id"], "quantity": 3, "total_cents": total
    }  # fmt: skip
    expect(answer.status == 201 and order == wanted, did, answer, f"201 with {wanted}")
    location = answer.headers.get("Location", "")
    expect(
        httpx.URL(location).path == f"/orders/{order['id']}",
        did,
        f"Location: {location or '(none)'}",
        "Location: /orders/<id> of the new order",
    )
    again = app.get(f"/orders/{order['id']}", headers=app.authorization())
    expect(
        again.status == 200 and again.json() == order,
        f"{did}, then GET /orders/<id>",
        again,
        f"200 with the same order: {order}",
    )
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 997, did, f"{stock} of 1000 items left", "997 items left")
    with changed(db, product, price_cents=1):
        answer = app.order(product["id"], 3)
        again = app.get(f"/orders/{order['id']}", headers=app.authorization())
    total = (answer.json() or {}).get("total_cents")
    ids = [order["id"], (answer.json() or {}).get("id")]
    did = f"{did}, changed the price to 1 cent in PostgreSQL, the same order"
    expect(total == 3, did, answer, "total_cents 3: the price as it is now")
    moments = db.query("SELECT created_at FROM orders WHERE id = ANY(%s) ORDER BY id", ids)
    got = f"created_at is {moments[0][0]} and {moments[-1][0]}"
    expect(moments[0] < moments[-1], did, got, "the moment of each order", hint="moment")
    did = f"{did}, then GET /orders/<id> of the first"
    expect(again.json() == order, did, again, f"the order as it was: {order}")


@pytest.mark.parametrize("id", ["0", NUMBER[:18]])
def test_missing_order_is_a_404(app, db, id):
    path = f"/orders/{id}"
    expect_error(app.get(path, headers=app.authorization()), f"GET {path}", 404)
    path = f"/orders/{db.value('SELECT max(id) + 1 FROM orders')}"
    expect_error(app.get(path, headers=app.authorization()), f"GET {path}", 404)
    path = f"/orders/{placed_elsewhere(db, app)}"
    answer = app.get(path, headers=app.authorization())
    did = f"another process placed an order, then GET {path}"
    expect(answer.status == 200, did, answer, "200 with the order")
    db.query("DELETE FROM orders WHERE id = %s", answer.json()["id"])
    did = f"{did}, deleted the order in PostgreSQL, GET {path}"
    expect_error(app.get(path, headers=app.authorization()), did, 404)


def test_order_is_refused(app, db, product):
    did = "POST /orders for product 999999, which does not exist"
    expect_error(app.order(999999, 1), did, 404)
    did = "POST /orders for 1001 of 1000 items"
    expect_error(app.order(product["id"], 1001), did, 409)
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 1000, did, f"{amount(stock, 'item')} left", "1000 items left, as before")


def test_stock_is_never_oversold(app, db, product, services):
    db.query("UPDATE products SET stock = 50 WHERE id = %s", product["id"])
    before = db.value("SELECT count(*) FROM orders WHERE product_id = %s", product["id"])
    body = {"product_id": product["id"], "quantity": 1}
    answers, _ = app.together([Request("POST", "/orders", body, app.authorization())] * 200)
    did = "200 buyers at once order one of the last 50 items"
    expect(counts(answers) == "50 × 201, 150 × 409", did, counts(answers), "50 × 201, 150 × 409")
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    orders = db.value("SELECT count(*) FROM orders WHERE product_id = %s", product["id"]) - before
    expect(
        (stock, orders) == (0, 50),
        did,
        f"{amount(stock, 'item')} left, {amount(orders, 'order')} kept",
        "0 items left, 50 orders kept",
    )
    did = "an order of 2 of the last 5 items, while another process sells 4 of them"
    update = "UPDATE products SET stock = %s WHERE id = %s"
    db.query(update, 5, product["id"])
    with changed_elsewhere(services, update, 1, product["id"]):
        burst = Burst(
            app, [Request("POST", "/orders", body | {"quantity": 2}, app.authorization())]
        )
        eventually(lambda: queued(app, db) or burst.over(0))
    (answer,) = burst.answers()
    expect(answer and answer.status == 409, did, answer or "no answer", "409")
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 1, did, f"{amount(stock, 'item')} left", "1 item left")


# What a client may try to decide, under every name that a shop might listen to.
WISHES = {
    "id": 1, "price_cents": 1, "price": 1, "total_cents": 1, "total": 1, "amount": 1,
    "discount": 99, "customer": "alice", "username": "alice", "user": "alice", "stock": 1000,
    "created_at": "2001-01-01T00:00:00Z",
}  # fmt: skip
CHANNELS = {
    "its body": {"body": WISHES},
    "its query": {"params": WISHES},
    "its headers": {
        "headers": {"X-Customer": "alice", "X-User": "alice", "X-Total-Cents": "1", "X-Id": "1"}
    },
    "its Host": {"headers": {"Host": "attacker.example"}},
    "a proxy's headers": {
        "headers": {
            "Forwarded": "host=attacker.example;proto=https",
            "X-Forwarded-Host": "attacker.example",
            "X-Forwarded-Prefix": "/attacker",
            "X-Forwarded-Proto": "https",
        }
    },
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_client_decides_only_what_it_orders(app, db, product, channel):
    wishes = CHANNELS[channel]
    body = wishes.get("body", {}) | {"product_id": product["id"], "quantity": 2}
    headers = wishes.get("headers", {}) | app.authorization()
    answer = app.post("/orders", body, headers=headers, params=wishes.get("params"))
    did = f"POST /orders for 2 items, with a wish of the client in {channel}"
    refused = answer.status in (400, 403, 421, 422)
    expect(answer.status == 201 or refused, did, answer, "201, or a 4xx with a sentence")
    if refused:
        return
    location = answer.headers.get("Location", "(none)")
    expect("attacker" not in location, did, f"Location: {location}", "Location: /orders/<id>")
    id, total = answer.json()["id"], 2 * product["price_cents"]
    rows = db.query(
        "SELECT total_cents, customer, created_at BETWEEN now() - interval '5 min' AND now()"
        " FROM orders"
        " WHERE id = %s AND id > 200000",
        id,
    )
    owner = "admin" if app.step.has_login else None
    kept = rows and rows[0] == (total, owner, True) and answer.json()["total_cents"] == total
    got = f"order {id}: {rows or 'one that was there before'}"
    expect(kept, did, got, f"a new order of now, {total} cents, customer {owner}")


def test_repeated_order_is_placed_once(app, db, product):
    db.query("UPDATE products SET stock = 2 WHERE id = %s", product["id"])
    id, before = product["id"], orders_of(db, product)
    did = "twice the same POST /orders for the last 2 items, with the same Idempotency-Key"
    first, second = (order(app, id, 2, key=f"sofa-{id}") for _ in range(2))
    same = first.body == second.body
    same = same and first.headers.get("Location") == second.headers.get("Location")
    got = f"{first}, then {second}"
    expect(first.status == second.status == 201 and same, did, got, "twice the same 201")
    expect_kept(db, product, before, did, orders=1, stock=0)
    other = order(app, id, 1, key=f"sofa-{id}")
    expect_error(other, "the same Idempotency-Key with another quantity", 422)
    db.query("UPDATE products SET stock = 2 WHERE id = %s", id)
    another = order(app, id, 2, key=f"SOFA-{id}")
    expect(another.status == 201, "the same order with another Idempotency-Key", another, "201")
    expect_kept(db, product, before, "the same order with another key", orders=2, stock=0)
    for name, keys in ALIKE.items():
        one, two = (key.format(id) for key in keys)
        again = [order(app, id + 1, 1, key) for key in (one, two, one)]
        did = f"POST /orders with two Idempotency-Keys that {name}, then with the first again"
        expect(counts(again) == "3 × 201", did, counts(again), "3 × 201")
        numbers = [(answer.json() or {}).get("id") for answer in again]
        own = numbers[0] == numbers[2] != numbers[1]
        expect(own, did, f"orders {numbers}", "two orders, the first of them twice")
    early = order(app, id, 3, key=f"early-{id}")
    db.query("UPDATE products SET stock = 3 WHERE id = %s", id)
    late = order(app, id, 3, key=f"early-{id}")
    did = "an order of too many items, new items come, and the same order with the same key"
    got = f"{early}, then {late}"
    expect((early.status, late.status) == (409, 201), did, got, "409, then 201")
    without = [order(app, id + 1, 1) for _ in range(2)]
    got = f"{without[0]}, then {without[1]}"
    distinct = without[0].status == without[1].status == 201 and without[0].body != without[1].body
    expect(distinct, "twice the same POST /orders without a key", got, "two orders")


# Two keys each, with a number of at most 50 digits in the place of {}.
ALIKE = {
    "are of 205 letters and differ in the last": ("{}" + "k" * 204 + "a", "{}" + "k" * 204 + "b"),
    "are of 205 letters and differ in the first": ("{}a" + "k" * 204, "{}b" + "k" * 204),
    "are the same number": ("{}.0", "{}.00"),
    "are the same pattern": ("{}:a%", "{}:a_"),
    "differ in a quote": ("{}:'", '{}:"'),
    "differ in the quotes around them": ("{}:rug", '"{}:rug"'),
    "differ in case": ("{}:chair", "{}:Chair"),
}


def test_repeats_at_once_place_one_order(app, launch, db, product, services):
    db.query("UPDATE products SET stock = 1 WHERE id = %s", product["id"])
    before = orders_of(db, product)
    did = "4 × the same POST /orders at once for the last item, with the same Idempotency-Key"
    headers = app.authorization() | {"Idempotency-Key": f"lamp-{product['id']}"}
    body = {"product_id": product["id"], "quantity": 1}
    apps, wanted = [app, app], 1
    if app.step.is_concurrent:
        did += ", 2 of them to a second process"
        apps, wanted = [app, launch()], 4
    with row_locked(services, product["id"]):
        bursts = [Burst(one, [Request("POST", "/orders", body, headers)] * 2) for one in apps]
        eventually(lambda: sum(len(queued(one, db)) for one in set(apps)) >= wanted, 1)
    answers = [answer for burst in bursts for answer in burst.answers()]
    bodies = {answer and answer.body for answer in answers}
    got = f"{counts(answers)}, {len(bodies)} different answers"
    expect(counts(answers) == "4 × 201" and len(bodies) == 1, did, got, "4 × the same 201")
    expect_kept(db, product, before, did, orders=1, stock=0)


@pytest.mark.parametrize("key", IDEMPOTENCY_KEYS.values(), ids=IDEMPOTENCY_KEYS)
def test_bad_idempotency_key_is_a_400(app, db, product, request, key):
    before = orders_of(db, product)
    did = f"POST /orders with an Idempotency-Key {request.node.callspec.id}"
    expect_error(order(app, product["id"], 1, key), did, 400)
    expect_kept(db, product, before, did, orders=0, stock=1000)


def test_lost_commit_is_told_honestly(launch, db, product, services):
    before = orders_of(db, product)
    did = "POST /orders, PostgreSQL commits it, and the connection dies before it can say so"
    with proxied(services) as (proxy, url):
        app = launch(fresh=True, DATABASE_URL=url)
        app.authorization()
        proxy.break_before(lambda data: orders_of(db, product) > before)
        answer = order(app, product["id"], 1, key=f"kite-{product['id']}")
        expect_error(answer, did, 503)
        retry = answer.headers.get("Retry-After")
        got = f"503 with Retry-After: {retry}"
        expect(
            retry is None, did, got, "503 without Retry-After: a client that obeyed orders twice"
        )
        expect_kept(db, product, before, did, orders=1, stock=999)
        answer = order(app, product["id"], 1, key=f"kite-{product['id']}")
        did = f"{did}; then the same order with the same Idempotency-Key"
        expect(answer.status == 201, did, answer, "201 with the order that was placed")
        expect_kept(db, product, before, did, orders=1, stock=999)


@pytest.mark.parametrize("table, key", [("products", ""), ("orders", ""), ("orders", "tulip-4711")])
def test_broken_order_leaves_nothing(app, db, product, services, table, key):
    before = orders_of(db, product)
    body = {"product_id": product["id"], "quantity": 1}
    headers = app.authorization() | ({"Idempotency-Key": key} if key else {})
    request = Request("POST", "/orders", body, headers)
    did = f"POST /orders, whose connection is ended while it waits for the table {table}"
    with table_locked(services, table):
        burst = Burst(app, [request])
        waiting = eventually(lambda: queued(app, db))
        expect(waiting, did, "no query in PostgreSQL", "one that waits")
        end_connections(app, db)
    (answer,) = burst.answers()
    expect(answer and answer.status in (201, 503), did, answer or "no answer", "503")
    orders = 1 if answer.status == 201 else 0  # An app may have tried again.
    expect_kept(db, product, before, did, orders=orders, stock=1000 - orders)
    said = [line for line in app.output().splitlines() if key and key in line]
    got = f"{amount(len(said), 'line')} of output with its Idempotency-Key"
    expect(not said, did, got, "none: it may be a secret of the client's", hint="output")


def test_dead_connection_spoils_no_answer(launch, product, services):
    path = f"/products/{product['id']}"
    did = f"GET {path}, and the connection to PostgreSQL dies just after it has sent the row"
    with proxied(services) as (proxy, url):
        app = launch(fresh=True, DATABASE_URL=url)
        proxy.break_after(lambda data: product["name"].encode() in data)
        answer = app.get(path)
        expect(proxy.has_broken, did, "no row came from PostgreSQL", "a row")
        expect(answer.status in (200, 503), did, answer, "200 with the product")
        answer = app.get(path)
        expect(answer.status == 200, f"{did}, then once more", answer, "200")


def test_read_only_postgresql_is_a_503(app, db, product):
    before = orders_of(db, product)
    app.authorization()
    did = "made PostgreSQL read-only, as it may be after a failover, then POST /orders"
    db.query("ALTER ROLE workshop SET default_transaction_read_only = on")
    try:
        end_connections(app, db)
        answer = app.order(product["id"], 1)
        reading = app.get(f"/products/{product['id']}")
    finally:
        db.query("ALTER ROLE workshop RESET default_transaction_read_only")
        end_connections(app, db)
    expect_error(answer, did, 503)
    retry = answer.headers.get("Retry-After", "(none)")
    expect(
        retry.isdigit(), did, f"Retry-After: {retry}", "Retry-After: seconds; nothing is written"
    )
    expect(reading.status == 200, "read-only, GET /products/<id>", reading, "200")
    expect_kept(db, product, before, did, orders=0, stock=1000)


def test_large_total_is_no_500(app, db, product):
    before = orders_of(db, product)
    stock, price, quantity = 10**6, 2 * 10**6, 10**4
    update = "UPDATE products SET stock = %s, price_cents = %s WHERE id = %s"
    db.query(update, stock, price, product["id"])
    did = f"POST /orders for {quantity} items at {price} cents each: a total over 2³¹"
    try:
        answer = app.order(product["id"], quantity)
    finally:
        db.query(update, stock, product["price_cents"], product["id"])
    if answer.status == 201:  # in a column that is wide enough
        total = answer.json()["total_cents"]
        expect(total == quantity * price, did, f"{total} cents", f"{quantity * price} cents")
        db.query("DELETE FROM orders WHERE id = %s", answer.json()["id"])
    else:
        expect_error(answer, did, answer.status if answer.status in (400, 409, 422) else 400)
        expect_kept(db, product, before, did, orders=0, stock=stock)


@pytest.mark.parametrize("body, headers, status", BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_bad_order_is_told_why(app, request, body, headers, status):
    case = request.node.callspec.id
    answer = app.post("/orders", content=body, headers=headers | app.authorization())
    expect_error(answer, f"POST /orders with {case}", status)


def test_body_of_16_kib_is_read(app, product):
    body = json.dumps({"product_id": product["id"], "quantity": 1}).ljust(16384)
    answer = app.post("/orders", content=body, headers=JSON | app.authorization())
    expect(answer.status == 201, "POST /orders with 16,384 bytes", answer, "201: no byte too many")
    chunks = (body[at : at + 4096].encode() for at in range(0, len(body), 4096))
    answer = app.post("/orders", content=chunks, headers=JSON | app.authorization())
    did = "POST /orders with 16,384 bytes in chunks"
    expect(answer.status == 201, did, answer, "201: no byte too many")
    answer = app.post("/orders", content=body + " ", headers=JSON | app.authorization())
    expect_error(answer, "POST /orders with 16,385 bytes", 413)
    did = "POST /orders with Expect: 100-continue, whose client waits before it sends 16,384 bytes"
    lines = [f"{name}: {value}" for name, value in app.authorization().items()]
    whole = rawhttp.post("/orders", body.encode(), "Expect: 100-continue", *lines)
    with rawhttp.Connection(app, timeout=5) as client:
        first = client.send(whole[: -len(body)]).reply()
        expect(first, did, "no word within 5 s", "100, then 201")
        if first.status == 100:
            first = client.send(body.encode()).reply()
    got = f"status {first.status}" if first else "no answer"
    expect(first and first.status in (201, 417), did, got, "100, then 201")


def test_large_body_in_chunks_is_a_413(app):
    chunks = (b" " * 1000 for _ in range(20))
    answer = app.post("/orders", content=chunks, headers=JSON | app.authorization())
    expect_error(answer, "POST /orders with 20,000 bytes in chunks", 413)


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"],
)
def test_json_is_read_however_it_is_called(app, product, content_type):
    body = json.dumps({"product_id": product["id"], "quantity": 1})
    headers = {"Content-Type": content_type} | app.authorization()
    answer = app.post("/orders", content=body, headers=headers)
    expect(answer.status == 201, f"POST /orders with Content-Type: {content_type}", answer, "201")


def test_small_body_in_chunks_is_read(app, product):
    body = json.dumps({"product_id": product["id"], "quantity": 1}).encode()
    chunks = (body[i : i + 10] for i in range(0, len(body), 10))
    answer = app.post("/orders", content=chunks, headers=JSON | app.authorization())
    expect(answer.status == 201, "POST /orders with a small body in chunks", answer, "201")
    lines = [f"{name}: {value}" for name, value in app.authorization().items()]
    with rawhttp.Connection(app, timeout=5) as client:
        reply = client.send(rawhttp.post_in_chunks("/orders", body, *lines)).reply()
    did = "POST /orders with Transfer-Encoding: Chunked, in a capital"
    expect(reply and reply.status == 201, did, reply or "no answer", "201")


def test_malformed_chunks_are_a_400(app, db, product):
    head = "POST /orders HTTP/1.1\r\nHost: a\r\n"
    for name, value in (JSON | app.authorization()).items():
        head += f"{name}: {value}\r\n"
    before = orders_of(db, product)
    body = json.dumps({"product_id": product["id"], "quantity": 1})
    for what, (framing, sent) in MALFORMED_BODIES.items():
        did = f"POST /orders with {what}"
        sent = sent.format(size=f"{len(body):x}", body=body)
        with rawhttp.Connection(app, timeout=5) as client:
            client.send(f"{head}{framing}\r\n\r\n{sent}".encode()).finish_sending()
            reply = client.reply()
        got = f"status {reply.status}" if reply else "no answer"
        cut_short = "ends" in what  # A server may hang up: the client has done so before.
        expect(reply.status == 400 if reply else cut_short, did, got, "400")
        expect_kept(db, product, before, did, orders=0, stock=1000)


CHUNKED = "Transfer-Encoding: chunked"
MALFORMED_BODIES = {
    "chunks, the size of the first of which is no number": (CHUNKED, "zz\r\n{body}\r\n0\r\n\r\n"),
    "a body that ends before its Content-Length": ("Content-Length: 99", "{body}"),
    "chunks of which the last ends early": (CHUNKED, "{size}\r\n{body}\r\n9\r\n  "),
    "a body that ends without its last chunk": (CHUNKED, "{size}\r\n{body}\r\n"),
}


@pytest.mark.parametrize(
    "method, path, status", BAD_ROUTES, ids=[f"{m} {path[:40]}" for m, path, _ in BAD_ROUTES]
)
def test_unknown_route_is_told(app, method, path, status):
    answer = app.request(method, path, headers=app.authorization())
    expect_error(answer, f"{method} {path[:40]}", status)
    allow = answer.headers.get("Allow")
    expect(
        status != 405 or allow, f"{method} {path}", "a 405 without Allow", "a 405 that has Allow"
    )


ROUTES = {
    "/": "GET", "/async": "GET", "/products/7": "GET", "/quote/7": "GET", "/data": "GET",
    "/orders": "POST", "/orders/1": "GET",
}  # fmt: skip


NO_ORDER = {"product_id": 7, "quantity": 0}
OVERRIDES = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Method"]


@pytest.mark.parametrize("path", ROUTES)
def test_wrong_method_is_a_405(launch, path):
    app, right = launch(), ROUTES[path]
    for method in [m for m in ("GET", "POST", "PUT", "PATCH", "DELETE") if m != right]:
        answer = app.request(method, path, headers=app.authorization())
        expect_error(answer, f"{method} {path}", 405)
        allow = answer.headers.get("Allow", "(none)")
        expect(right in allow, f"{method} {path}", f"Allow: {allow}", f"Allow: {right}")
    answer = app.request("OPTIONS", path, headers=app.authorization())
    allow = f"{answer.status}, Allow: {answer.headers.get('Allow', '(none)')}"
    told = answer.status in (200, 204, 405) and right in allow
    expect(told, f"OPTIONS {path}", allow, f"200 or 204, Allow: {right}")
    wrong = "POST" if right == "GET" else "GET"
    for sent, wish in ((right, "DELETE"), (wrong, right)):
        status = 405 if sent == wrong else 200 if right == "GET" else 400
        headers = app.authorization() | dict.fromkeys(OVERRIDES, wish)
        answer = app.request(sent, path, headers=headers, json=NO_ORDER, params={"_method": wish})
        did = f"{sent} {path} with {OVERRIDES[0]}: {wish}, and the like"
        expect(answer.status == status, did, answer, f"{status}, as without: {sent} is the method")


@pytest.mark.parametrize("path", ROUTES)
def test_head_is_get_without_its_body(launch, path):
    app = launch()
    got, head = (app.request(m, path, headers=app.authorization()) for m in ("GET", "HEAD"))
    same = head.status == got.status
    same = same and head.headers.get("Content-Type") == got.headers.get("Content-Type")
    expect(same and not head.body, f"HEAD {path}", head, f"{got.status} with the headers of GET")


@pytest.mark.parametrize("text", INJECTIONS)
def test_input_is_never_sql(app, text):
    for path in ("/products/", "/quote/", "/orders/"):
        answer = app.request("GET", path + text, headers=app.authorization())
        expect_error(answer, f"GET {path}{text}", 404)


@pytest.mark.usefixtures("dead_connections_met")
def test_postgresql_away_is_a_503(app, launch, services, product):
    path = f"/products/{product['id']}"
    app.get(path)
    services.postgres.stop(mode="immediate")
    try:
        answers = [a for _ in range(3) for a in app.together([Request("GET", path)] * 40)[0]]
        unwaited = app.get("/")
        late = launch(fresh=True)
        early = late.get(path)
    finally:
        services.postgres.start()
    did = f"stopped PostgreSQL, then 3 × 40 × GET {path} at once"
    expect(all(answers), did, counts(answers), "120 × 503")
    expect(counts(answers) == "120 × 503", did, counts(answers), "120 × 503")
    expect_error(answers[0], did, 503)
    retry = answers[0].headers.get("Retry-After", "")
    expect(retry.isdigit(), did, f"Retry-After: {retry or '(none)'}", "Retry-After: seconds")
    expect(unwaited.status == 200, "stopped PostgreSQL, then GET /", unwaited, "200")
    expect_error(early, f"stopped PostgreSQL, started the app, GET {path}", 503)
    latest = []

    def is_back():
        latest[:], _ = app.together([Request("GET", path)])
        return latest[0] and latest[0].status == 200

    expect(
        eventually(is_back),
        f"started PostgreSQL again, then GET {path}",
        latest[0] or "no answer",
        "200 without a restart of the app",
    )
    again = late.get(path)
    did = f"started the app while PostgreSQL was away, started PostgreSQL, GET {path}"
    expect(again.status == 200, did, again, "200")


def order(app, product_id, quantity, key=None):
    """POST /orders with an Idempotency-Key, unless that is None."""
    body = {"product_id": product_id, "quantity": quantity}
    headers = {} if key is None else {"Idempotency-Key": key}
    return app.post("/orders", body, headers=headers | app.authorization())


def orders_of(db, product) -> int:
    return db.value("SELECT count(*) FROM orders WHERE product_id = %s", product["id"])


def expect_kept(db, product, before: int, did: str, orders: int, stock: int) -> None:
    """So many new orders of the product are in PostgreSQL, and so many items are left."""
    left = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    new = orders_of(db, product) - before
    got = f"new orders: {new}, items left: {left}"
    expect((new, left) == (orders, stock), did, got, f"new orders: {orders}, items left: {stock}")


def end_connections(app, db) -> None:
    """PostgreSQL ends the app's connections, and has done so at the end."""
    for pid in backends(app, db):
        db.query("SELECT pg_terminate_backend(%s, 5000)", pid)


def expect_one_wait(answer, did: str) -> None:
    """The answer took at least as long as the supplier."""
    waits = answer.seconds / SUPPLIER
    expect(
        waits >= 1,
        f"{did}, the supplier takes {SUPPLIER} s",
        f"an answer after {waits:.1f} waits",
        "an answer after 1 wait or more",
    )


def is_recent_utc(text) -> bool:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return when.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - when) < timedelta(minutes=5)
