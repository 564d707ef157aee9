"""The report of GET /data as the checks see it: in answers, in Redis, in PostgreSQL."""

import json
import pickle
import re
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

from blackbox import amount, eventually, expect

KEY = "data_response"
REPORT = "%orders%group by%"  # the query of the report, whatever its exact words


def warm(app, did: str = ""):
    """An answer from the cache. It may take a moment: the app may have left Redis alone."""
    did = f"{did}GET /data for {app.hit_patience:.0f} s"

    def hit():
        answer = app.get("/data")
        state = x_cache(answer)
        told = f"{answer.status}, X-Cache: {state}"
        expect(answer.status == 200 and state != "(none)", did, told, "200 and X-Cache")
        return state == "HIT" and answer

    answer = eventually(hit, app.hit_patience, every=0.2)  # each may compute a report
    expect(answer, did, "never X-Cache: HIT", "HIT from the second on")
    return answer


def forget(app, redis):
    """Nothing is cached, and the app speaks with Redis: what it computes gets there."""
    restarted = redis.info("server")["uptime_in_seconds"] + 1 < app.seconds_up()
    warm(app, "Redis has stopped and started again, without its scripts; " if restarted else "")
    eventually(lambda: redis.exists(KEY) or not app.get("/data"), every=0.2)
    redis.delete(KEY)


def fresh(app, redis):
    """What is cached is a report of now."""
    forget(app, redis)
    warm(app)


def same_report(app) -> str | None:
    """generated_at, where two answers have the same."""
    first, second = (app.get("/data").json()["generated_at"] for _ in range(2))
    return first if first == second else None


def counted(db, action):
    """What the action gives, and how many reports PostgreSQL computed meanwhile."""
    before = db.calls(REPORT)
    return action(), db.calls(REPORT) - before


def at_work(db) -> list[int]:
    """The processes of PostgreSQL that compute the report, or wait to."""
    rows = db.query(
        "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query ILIKE %s"
        " AND application_name <> 'checks'",
        REPORT,
    )
    return [pid for (pid,) in rows]


def expect_order(app, product, trouble: str = ""):
    answer = app.order(product["id"], 1)
    expect(answer.status == 201, f"{trouble}POST /orders", answer, "201")


def expect_orders(app, db, did: str, hint: str = ""):
    answer = app.get("/data")
    expect(answer.status == 200, did, answer, "200")
    orders = sum(row["orders"] for row in answer.json()["report"])
    kept = db.value("SELECT count(*) FROM orders")
    told = f"a report of {amount(orders, 'order')}"
    got = f"X-Cache: {x_cache(answer)}, {told}; PostgreSQL has {kept}"
    expect(orders == kept, did, got, "a report with the order in it", hint)


def expect_report(answer, db, did: str, hint: str = ""):
    """The answer is a report, and adds up to what PostgreSQL has now; `hint` is for a stale one."""
    expect(answer.status == 200, did, answer, "200")
    body = answer.json()
    known = isinstance(body, dict) and isinstance(body.get("report"), list)
    expect(known, did, answer, "a report")
    (truth,) = db.query("SELECT count(*), sum(total_cents) FROM orders")
    columns = ("orders", "revenue_cents")
    told = tuple(sum(row[column] for row in body["report"]) for column in columns)
    got = f"{amount(told[0], 'order')}, {told[1]} cents; X-Cache: {x_cache(answer)}"
    expect(told == truth, did, got, f"{truth[0]} orders, {truth[1]} cents", hint)


def x_cache(answer) -> str:
    return answer.headers.get("X-Cache", "(none)")


def max_age(answer, did: str) -> int:
    """The seconds that Cache-Control promises, among whatever else it says."""
    header = answer.headers.get("Cache-Control", "(none)")
    found = re.search(r"(?:^|[\s,])max-age=(\d+)(?=$|[\s,])", header)
    expect(found, did, f"Cache-Control: {header}", "max-age= and the seconds that are left")
    return int(found[1])


def is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def differing(first: bytes, second: bytes) -> str:
    if first == second:
        return "the same bytes"
    at = next((i for i, pair in enumerate(zip(first, second)) if pair[0] != pair[1]), 0)  # noqa: B905
    at = max(first.rfind(b'"', 0, at), 0)  # where the name or the text begins that differs
    return f"from byte {at} on: {first[at : at + 30]!r}…, then {second[at : at + 30]!r}…"


def rubbish() -> dict[str, bytes | list]:
    foreign = {"report": [], "generated_at": datetime.now(UTC).isoformat()}
    return {
        "no date": b'{"report": []}',
        "number": b"7",
        "bytes": b"\xff\xfe\xfd",
        "nothing": b"",
        "object": b'{"message": "rubbish"}',
        "array": b"[]",
        "pickle": pickle.dumps(foreign),
        "list": ["1"],
    }


QUERIES = ["x=0", "x=1", "fresh", "fresh=1", "refresh=true", "nocache=1", "ttl=0", "_=1", "%00=1"]
HEADERS = {
    "Cache-Control": ["no-cache", "no-store", "max-age=0"],
    "Pragma": ["no-cache"],
    "If-None-Match": ['"a"', "*"],
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT"],
    "Accept": ["text/html", "application/xml"],
    "Accept-Encoding": ["identity", "br"],
    "Accept-Language": ["de", "ja"],
    "Authorization": ["Bearer a.b.c"],
    "Cookie": ["session=1"],
    "Host": ["elsewhere.example"],
    "Origin": ["https://elsewhere.example"],
    "User-Agent": ["a bot"],
    "X-Cache": ["MISS"],
    "X-Forwarded-For": ["203.0.113.7"],
    "X-Refresh": ["1"],
}


def strangers(app, product) -> dict[str, Callable]:
    """What any client may send, by its name: none of it may cost a report, or delete the one."""
    key = {"Idempotency-Key": f"stranger-{product['id']}"} | app.authorization()
    id, order = product["id"], "POST /orders"
    app.post("/orders", {"product_id": id, "quantity": 1}, headers=key)
    cases = {f"GET /data?{query}": partial(app.get, f"/data?{query}") for query in QUERIES}
    for name, values in HEADERS.items():
        for value in values:
            send = partial(app.get, "/data", headers={name: value})
            cases[f"GET /data with {name}: {value}"] = send
    for method in ("HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE"):
        cases[f"{method} /data"] = partial(app.request, method, "/data")
    for what, (product_id, quantity) in {
        "of a product that isn't there": (999_999_999, 1),
        "of more items than are left": (id, 1_000_000),
        "of no items": (id, 0),
        "of a text": ("a", 1),
        "that uses a key again": (id, 2),
    }.items():
        body = {"product_id": product_id, "quantity": quantity}
        cases[f"{order} {what}"] = partial(app.post, "/orders", body, headers=key)
    cases[f"{order} without a body"] = partial(app.post, "/orders", headers=key)
    cases["GET /orders/999999999"] = partial(app.get, "/orders/999999999", headers=key)
    if app.step.has_login:
        body = {"product_id": id, "quantity": 1}
        cases[f"{order} without a token"] = partial(app.post, "/orders", body)
    return cases


@contextmanager
def deaf_server():
    """A server that accepts and is silent: its port, and the list of its connections."""
    connections = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept():
            while not over.is_set():
                with suppress(TimeoutError):
                    connections.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], connections
        finally:
            over.set()
            thread.join()
            for connection in connections:
                connection.close()
