"""Step 1: the contract of the shop's API, its errors included. It holds in every later step."""

import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from blackbox import SUPPLIER, Request, counts, eventually, expect

JSON = {"Content-Type": "application/json"}
NUMBER = "99999999999999999999"


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


def test_product_is_one_row(app, product):
    path = f"/products/{product['id']}"
    answer = app.get(path)
    expect(
        answer.status == 200 and answer.json() == product,
        f"GET {path}",
        answer,
        f"200 with the row that PostgreSQL has: {product}",
    )
    head = app.request("HEAD", path)
    same = head.headers.get("Content-Length") == answer.headers.get("Content-Length")
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
        f"{len(report)} categories, the first {report[0]}",
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
    did = f"POST /orders for 3 pieces of product {product['id']}"
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
    expect(stock == 997, did, f"{stock} of 1000 pieces left", "997 pieces left")


@pytest.mark.parametrize("id", ["0", NUMBER[:18]])
def test_missing_order_is_a_404(app, id):
    path = f"/orders/{id}"
    expect_error(app.get(path, headers=app.authorization()), f"GET {path}", 404)


def test_order_is_refused(app, db, product):
    did = "POST /orders for product 999999, which does not exist"
    expect_error(app.order(999999, 1), did, 404)
    did = "POST /orders for 1001 of 1000 pieces"
    expect_error(app.order(product["id"], 1001), did, 409)
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 1000, did, f"{stock} pieces left", "1000 pieces left, as before")


def test_stock_is_never_oversold(app, db, product):
    db.query("UPDATE products SET stock = 50 WHERE id = %s", product["id"])
    before = db.value("SELECT count(*) FROM orders WHERE product_id = %s", product["id"])
    body = {"product_id": product["id"], "quantity": 1}
    answers, _ = app.together([Request("POST", "/orders", body, app.authorization())] * 200)
    did = "200 buyers at once order one of the last 50 pieces"
    expect(counts(answers) == "50 × 201, 150 × 409", did, counts(answers), "50 × 201, 150 × 409")
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    orders = db.value("SELECT count(*) FROM orders WHERE product_id = %s", product["id"]) - before
    expect(
        (stock, orders) == (0, 50),
        did,
        f"{stock} pieces left, {orders} orders kept",
        "0 pieces left, 50 orders kept",
    )


BAD_ORDERS = {
    "no body": (b"", JSON, 400),
    "half an object": (b'{"product_id": 7,', JSON, 400),
    "no JSON": (b"product_id=7", JSON, 400),
    "a list": (b"[7, 2]", JSON, 400),
    "null": (b"null", JSON, 400),
    "bytes that are no UTF-8": (b'{"product_id": "\xff\xfe"}', JSON, 400),
    "10,000 brackets": (b"[" * 10000, JSON, 400),
    "no quantity": (b'{"product_id": 7}', JSON, 400),
    "no product": (b'{"quantity": 1}', JSON, 400),
    "a quantity of 0": (b'{"product_id": 7, "quantity": 0}', JSON, 400),
    "a quantity of -1": (b'{"product_id": 7, "quantity": -1}', JSON, 400),
    "a quantity of 1.5": (b'{"product_id": 7, "quantity": 1.5}', JSON, 400),
    "a quantity of 1e400": (b'{"product_id": 7, "quantity": 1e400}', JSON, 400),
    "a quantity of NaN": (b'{"product_id": 7, "quantity": NaN}', JSON, 400),
    "a quantity of true": (b'{"product_id": 7, "quantity": true}', JSON, 400),
    "a quantity of null": (b'{"product_id": 7, "quantity": null}', JSON, 400),
    "a quantity as text": (b'{"product_id": 7, "quantity": "2"}', JSON, 400),
    "a quantity as list": (b'{"product_id": 7, "quantity": [2]}', JSON, 400),
    "a product as text": (b'{"product_id": "7; DROP TABLE orders", "quantity": 1}', JSON, 400),
    "a negative product": (b'{"product_id": -7, "quantity": 1}', JSON, 400),
    "a number of 5,000 digits": (
        b'{"product_id": 7, "quantity": ' + b"9" * 5000 + b"}", JSON, 400
    ),
    "a product of 20 digits": (f'{{"product_id": {NUMBER}, "quantity": 1}}'.encode(), JSON, 404),
    "a quantity of 20 digits": (f'{{"product_id": 7, "quantity": {NUMBER}}}'.encode(), JSON, 409),
    "no content type": (b'{"product_id": 7, "quantity": 1}', {}, 415),
    "a content type of text/plain": (
        b'{"product_id": 7, "quantity": 1}', {"Content-Type": "text/plain"}, 415
    ),
    "20,000 bytes": (b'{"product_id": 7, "quantity": 1' + b" " * 20000 + b"}", JSON, 413),
}  # fmt: skip


@pytest.mark.parametrize("body, headers, status", BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_bad_order_is_told_why(app, request, body, headers, status):
    case = request.node.callspec.id
    answer = app.post("/orders", content=body, headers=headers | app.authorization())
    expect_error(answer, f"POST /orders with {case}", status)


def test_large_body_in_chunks_is_a_413(app):
    chunks = (b" " * 1000 for _ in range(20))
    answer = app.post("/orders", content=chunks, headers=JSON | app.authorization())
    expect_error(answer, "POST /orders with 20,000 bytes in chunks", 413)


BAD_ROUTES = [
    ("GET", "/nothing-here", 404),
    ("GET", "/products", 404),
    ("GET", "/products/seven", 404),
    ("GET", "/products/-1", 404),
    ("GET", "/products/7.5", 404),
    ("GET", "/products/" + "7" * 5000, 404),
    ("GET", "/products/%00", 404),
    ("GET", "/products/%ff%fe", 404),
    ("GET", "/orders/" + "9" * 40, 404),
    ("GET", "/../../etc/passwd", 404),
    ("GET", "/products//7", 404),
    ("POST", "/", 405),
    ("DELETE", "/products/7", 405),
    ("PUT", "/data", 405),
    ("GET", "/orders", 405),
]


@pytest.mark.parametrize("method, path, status", BAD_ROUTES)
def test_unknown_route_is_told(app, method, path, status):
    answer = app.request(method, path)
    expect_error(answer, f"{method} {path[:40]}", status)
    allow = answer.headers.get("Allow")
    expect(
        status != 405 or allow, f"{method} {path}", "a 405 without Allow", "a 405 that has Allow"
    )


INJECTIONS = ["0 OR id=7", "7;SELECT pg_sleep(0)", "7--", "7'", "(SELECT 7)", "7 UNION SELECT 1"]


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
    expect_error(answers[0], did, 503)
    expect(counts(answers) == "120 × 503", did, counts(answers), "120 × 503")
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
