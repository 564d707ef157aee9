"""Step 1: the contract of the shop's API, its errors included. It holds in every later step."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
from activity import backends, queued
from blackbox import SUPPLIER, Request, amount, counts, eventually, expect
from bursts import Burst
from locks import row_locked, table_locked
from postgres_proxy import proxied
from refused import BAD_ORDERS, BAD_ROUTES, IDEMPOTENCY_KEYS, INJECTIONS, JSON, NUMBER


@pytest.fixture
def app(launch):
    """A supplier slow enough to be timed, a pool patient enough for a slow machine."""
    return launch(SUPPLIER_DELAY=SUPPLIER, POOL_TIMEOUT=20)


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
    answer = app.get("/async")
    expect_one_wait(answer, "GET /async")
    pattern = r"This is an? (a?synchronous) API response!"
    expect(
        answer.status == 200 and re.fullmatch(pattern, (answer.json() or {}).get("message", "")),
        "GET /async",
        answer,
        '200 with {"message": "This is … API response!"}',
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
    started, _ = try_to_start(HOST="192.0.2.1")  # an address for documentation, no machine's own
    did = "started the app with HOST=192.0.2.1, an address that this machine doesn't have"
    expect(not started, did, "an app that answers on 127.0.0.1", "an app that can't start")
    process = psutil.Process(launch().server.process.pid)
    sockets = [c for p in [process, *process.children(True)] for c in p.net_connections("tcp")]
    hosts = sorted({c.laddr.ip for c in sockets if c.status == psutil.CONN_LISTEN})
    did = "started the app without HOST, and looked at the addresses where it listens"
    local = all(host.startswith(("127.", "::1", "::ffff:127.")) for host in hosts)
    expect(hosts and local, did, ", ".join(hosts) or "(none)", "127.0.0.1 only")


def test_product_is_one_row(app, db, product):
    path = f"/products/{product['id']}"
    answer = app.get(path)
    expect(
        answer.status == 200 and answer.json() == product,
        f"GET {path}",
        answer,
        f"200 with the row that PostgreSQL has: {product}",
    )
    db.query("UPDATE products SET stock = stock - 1 WHERE id = %s", product["id"])
    sold = product | {"stock": product["stock"] - 1}
    again = app.get(path)
    expect(
        again.json() == sold,
        f"GET {path}, sold one item in PostgreSQL, GET {path}",
        "the old row" if again.body == answer.body else again,
        f"the row as it is now, with a stock of {sold['stock']}",
    )
    head = app.request("HEAD", path)
    same = head.headers.get("Content-Length") == again.headers.get("Content-Length")
    expect(
        head.status == 200 and same and not head.body,
        f"HEAD {path}",
        head,
        "200 with the headers of GET and no body",
    )


@pytest.mark.parametrize("path", ["/products/0", "/products/5001", "/products/" + NUMBER[:18]])
def test_missing_product_is_a_404(app, path):
    expect_error(app.get(path), f"GET {path}", 404)


def test_quote_is_the_price(app, product):
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


def test_requests_share_nothing(launch):
    app, ids = launch(), range(1, 9)
    answers, _ = app.together([Request("GET", f"/quote/{id}") for id in ids])
    did = "8 × GET /quote/<id> at once, each for another product"
    expect(counts(answers) == "8 × 200", did, counts(answers), "8 × 200")
    told = [(answer.json() or {}).get("product_id") for answer in answers]
    expect(told == list(ids), did, f"product_id {told}", f"product_id {list(ids)}")


def test_report_adds_up(app, db):
    rows = db.query(
        "SELECT category, count(*), sum(total_cents)::bigint FROM orders"
        " JOIN products ON products.id = product_id GROUP BY category ORDER BY category"
    )
    expected = [dict(zip(("category", "orders", "revenue_cents"), r, strict=True)) for r in rows]
    answer = app.get("/data")
    report = (answer.json() or {}).get("report")
    expect(answer.status == 200 and report, "GET /data", answer, '200 with {"report": […], …}')
    expect(
        report == expected,
        "GET /data",
        f"{amount(len(report), 'category', 'categories')}, the first {report[0]}",
        f"{len(expected)} categories as in PostgreSQL, the first {expected[0]}",
    )


def test_report_is_dated(app):
    answer = app.get("/data")
    when = (answer.json() or {}).get("generated_at")
    expect(
        is_recent_utc(when),
        "GET /data",
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


@pytest.mark.parametrize("id", ["0", NUMBER[:18]])
def test_missing_order_is_a_404(app, id):
    path = f"/orders/{id}"
    expect_error(app.get(path, headers=app.authorization()), f"GET {path}", 404)


def test_order_is_refused(app, db, product):
    did = "POST /orders for product 999999, which does not exist"
    expect_error(app.order(999999, 1), did, 404)
    did = "POST /orders for 1001 of 1000 items"
    expect_error(app.order(product["id"], 1001), did, 409)
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 1000, did, f"{amount(stock, 'item')} left", "1000 items left, as before")


def test_stock_is_never_oversold(app, db, product):
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
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_client_decides_only_what_it_orders(app, db, product, channel):
    wishes = CHANNELS[channel]
    body = wishes.get("body", {}) | {"product_id": product["id"], "quantity": 2}
    headers = wishes.get("headers", {}) | app.authorization()
    answer = app.post("/orders", body, headers=headers, params=wishes.get("params"))
    did = f"POST /orders for 2 items, with a price, an id and a customer in {channel}"
    refused = answer.status in (400, 403, 422)
    expect(answer.status == 201 or refused, did, answer, "201, or a 4xx with a sentence")
    if refused:
        return
    id, total = answer.json()["id"], 2 * product["price_cents"]
    rows = db.query(
        "SELECT total_cents, customer, created_at > now() - interval '1 hour' FROM orders"
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
    without = [order(app, id + 1, 1) for _ in range(2)]
    got = f"{without[0]}, then {without[1]}"
    distinct = without[0].status == without[1].status == 201 and without[0].body != without[1].body
    expect(distinct, "twice the same POST /orders without a key", got, "two orders")


def test_repeats_at_once_place_one_order(app, db, product, services):
    db.query("UPDATE products SET stock = 1 WHERE id = %s", product["id"])
    before = orders_of(db, product)
    did = "3 × the same POST /orders at once for the last item, with the same Idempotency-Key"
    headers = app.authorization() | {"Idempotency-Key": f"lamp-{product['id']}"}
    body = {"product_id": product["id"], "quantity": 1}
    with row_locked(services, product["id"]):
        burst = Burst(app, [Request("POST", "/orders", body, headers)] * 3)
        eventually(lambda: len(queued(app, db)) == 3, 1)  # one at a time in step 1
    answers = burst.answers()
    bodies = {answer and answer.body for answer in answers}
    got = f"{counts(answers)}, {len(bodies)} different answers"
    expect(counts(answers) == "3 × 201" and len(bodies) == 1, did, got, "3 × the same 201")
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


@pytest.mark.parametrize("table", ["products", "orders"])
def test_broken_order_leaves_nothing(app, db, product, services, table):
    before = orders_of(db, product)
    body = {"product_id": product["id"], "quantity": 1}
    request = Request("POST", "/orders", body, app.authorization())
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


def test_malformed_chunks_are_a_400(app):
    did = "POST /orders in chunks, the size of the first of which is no number"
    head = "POST /orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    for name, value in (JSON | app.authorization()).items():
        head += f"{name}: {value}\r\n"
    with socket.create_connection(("127.0.0.1", app.server.port), timeout=5) as client:
        client.sendall(head.encode() + b"\r\nzz\r\n{}\r\n0\r\n\r\n")
        try:
            told = client.recv(65536).partition(b"\r\n")[0].decode(errors="replace")
        except OSError as error:
            told = f"no answer ({type(error).__name__})"
    expect(" 400" in told, did, told or "(nothing)", "400")


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


def test_postgresql_away_is_a_503(app, services, product):
    path = f"/products/{product['id']}"
    app.get(path)
    services.postgres.stop(mode="immediate")
    try:
        answers = [a for _ in range(3) for a in app.together([Request("GET", path)] * 40)[0]]
        unwaited = app.get("/")
    finally:
        services.postgres.start()
    did = f"stopped PostgreSQL, then 3 × 40 × GET {path} at once"
    expect(all(answers), did, counts(answers), "120 × 503")
    expect(counts(answers) == "120 × 503", did, counts(answers), "120 × 503")
    expect_error(answers[0], did, 503)
    retry = answers[0].headers.get("Retry-After", "")
    expect(retry.isdigit(), did, f"Retry-After: {retry or '(none)'}", "Retry-After: seconds")
    expect(unwaited.status == 200, "stopped PostgreSQL, then GET /", unwaited, "200")
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


def expect_error(answer, did: str, status: int) -> None:
    """The status, as JSON, with a sentence in `message`."""
    message = (answer.json() if isinstance(answer.json(), dict) else {}).get("message")
    expect(
        answer.status == status and isinstance(message, str) and len(message) > 5,
        did,
        answer,
        f'{status} application/json: {{"message": a sentence}}',
    )


def is_recent_utc(text) -> bool:
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return when.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - when) < timedelta(hours=1)
