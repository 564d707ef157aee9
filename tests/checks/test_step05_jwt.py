"""Step 5: who asks is known, nobody can claim to be another, and logging in stalls nobody."""

import json
import re
import time
from contextlib import suppress
from statistics import median
from urllib.parse import quote

import httpx
import pytest
import rawhttp
from activity import backends
from blackbox import (
    JWT_SECRET,
    PATIENCE,
    NotStarted,
    Request,
    amount,
    as_long,
    counts,
    eventually,
    expect,
)
from bursts import Burst
from commands import expect_expiry_with_value, watched
from disclosure import LINES, forged_lines, forms, pieces
from forging import (
    CLAIMS,
    FORGED,
    HEADERS,
    ODD_CLAIMS,
    Forge,
    authorization,
    claim_hint,
    keys_in,
    now,
    read,
)
from locks import WAITING, held_order, table_locked
from logins import (
    ADMIN,
    ALICE,
    BAD_LOGINS,
    JSON,
    MISPLACED_LOGINS,
    ODD_LOGINS,
    PADDED,
    QUICK,
    WRONG,
    WRONG_LOGINS,
    Logins,
    forwarded,
    store,
    ways_to_bring,
)
from refused import BAD_ORDERS, IDEMPOTENCY_KEYS
from tables import expect_each
from usage import cpu_seconds, memory, open_files, threads
from werkzeug.security import generate_password_hash

GUARDED = {"iat": int, "exp": int, "sub": str, "iss": str, "aud": str, "jti": str}
# Each app serves several checks. Three tries are soon used up; the window is longer than any check.
STRICT = {"LOGIN_ATTEMPTS": 3, "LOGIN_WINDOW": 600, "JWT_SECRET": None}
TOKYO = {"TZ": "Asia/Tokyo", "TOKEN_TTL": 7200, "JWT_SECRET_PREVIOUS": "p" * 32}
NEW_YORK = {"TZ": "America/New_York", "TOKEN_TTL": 2, "JWT_SECRET": None} | {
    "LOGIN_ATTEMPTS": 12,
    "LOGIN_WINDOW": 30,
}


MISFRAMED = {
    "a short Content-Length": "Content-Length: 5",
    "two Content-Lengths": "Content-Length: 5\r\nContent-Length: {length}",
    "an unknown Transfer-Encoding": "Transfer-Encoding: gzip",
    "a body that is not chunked": "Transfer-Encoding: chunked",
    "no length": "X-Length: none",
}


@pytest.fixture(autouse=True)
def nothing_counted(redis):
    """No check starts with the failed logins of another."""
    redis.flushdb()


@pytest.fixture(scope="session", autouse=True)
def seeded(database):
    """The table's hashes, for `costly`; others, a thirtieth of the work, take their place."""
    db = database()
    hashes = dict(db.query("SELECT username, password_hash FROM users"))
    store(db, QUICK)
    return hashes


@pytest.fixture
def costly(db, seeded):
    """The hashes as seeded, for checks that time them."""
    store(db, seeded)
    yield
    store(db, QUICK)


@pytest.fixture
def forge(app):
    """Makes tokens like admin's; what it signs as it should be is accepted."""
    app.needs_settings()
    forge = Forge(app.authorization()["Authorization"].removeprefix("Bearer "))
    answer = app.get("/me", headers=bearer(forge.token()))
    expect(
        answer.status == 200,
        "GET /me with a token signed with JWT_SECRET, its claims as in yours",
        answer,
        "200: the secret is the one in JWT_SECRET",
    )
    return forge


def test_login_gives_a_token(app, db, costly):
    answer = app.post("/login", ADMIN)
    body = answer.json() or {}
    expect(
        answer.status == 200 and set(body) == {"token", "token_type", "expires_in"},
        "POST /login as admin",
        answer,
        '200 with {"token": …, "token_type": "Bearer", "expires_in": …}',
        hint="keys" if "token" in body else "",
    )
    cookie = answer.headers.get("Set-Cookie", "").partition("=")[0]
    expect(
        not cookie,
        "POST /login as admin",
        f"Set-Cookie: {cookie}=…",
        "the token in the body alone: a browser sends a cookie unasked, for other sites too",
        hint="cookie",
    )
    rest = (body["token_type"], body["expires_in"])
    expect(rest == ("Bearer", 3600), "POST /login as admin", rest, "Bearer, for 3600 seconds")
    me = app.get("/me", headers=bearer(body["token"]))
    did = "GET /me with the token"
    expect(me.json() == {"username": "admin"}, did, me, "admin's name", hint="own_token")
    store(db, QUICK)
    answer = app.post("/login", ADMIN)
    did = "hashed admin's password with less work, POST /login as admin"
    expect(answer.status == 200, did, answer, "200: a hash says how it was made")


def test_token_carries_six_claims(app):
    token = token_of(app, ADMIN)
    header, claims = read(token)
    expect(header.get("alg") == "HS256", "read the token", header, "a header with alg HS256")
    kinds = {name: type(claims.get(name)).__name__ for name in GUARDED}
    wanted = {name: kind.__name__ for name, kind in GUARDED.items()}
    expect(kinds == wanted, "read the token's claims", kinds, f"{wanted}")
    life = claims["exp"] - claims["iat"]
    expect(life == 3600, "read the token's claims", f"exp - iat = {life}", "3600")
    ours = claims["iss"], claims["aud"]
    names = "flask-workshop", "shop"
    expect(ours == names, "read the token's iss and aud", f"{ours}", f"{names}", hint="names")
    distinct = read(token_of(app, ADMIN))[1].get("jti") != claims["jti"]
    did, got = "POST /login twice", "the same jti in both tokens"
    expect(distinct, did, got, "a jti for each token", hint="same_jti")
    ids = [read(token_of(app, ADMIN))[1].get("jti", "") for _ in range(3)]
    halves = {id[: max(1, len(id) // 2)] for id in ids}
    did, got = "POST /login three times", f"jti: {', '.join(ids)}"
    expect(len(halves) > 1, did, got, "random ones, which two processes can't share", "counted_jti")
    wishes = {"sub": "alice", "exp": now() + 10**9, "ttl": 10**9, "expires_in": 10**9, "jti": "1"}
    answer = app.post("/login", ADMIN | wishes)
    did = f"POST /login as admin, with {', '.join(wishes)} in the body"
    claims = read((answer.json() or {}).get("token", ""))[1]
    life = claims.get("exp", 0) - claims.get("iat", 0)
    got = f"a token of {claims.get('sub')} for {life} s, jti {claims.get('jti')}"
    own = (claims.get("sub"), life) == ("admin", 3600) and claims.get("jti") != "1"
    expect(
        answer.status == 400 or own,
        did,
        got,
        "the token that admin always gets, or 400",
        hint="wishes",
    )


def test_wrong_login_is_a_401(app, redis):
    expect_each(WRONG_LOGINS, lambda name, body: expect_no_login(app, redis, name, body))


def test_odd_login_is_a_401(app, db, redis):
    expect_each(ODD_LOGINS, lambda name, body: expect_no_login(app, redis, name, body))
    expect_whole_password(app, db, redis)


def expect_whole_password(app, db, redis):
    """A password is compared to its end, however long it is, with its capitals and its spaces."""
    words = "correct horse battery staple " * 20

    def refused(name, passwords):
        right, wrong = passwords
        redis.flushdb()
        store(db, {"alice": generate_password_hash(right, "scrypt:1024:8:1")})
        answer = app.post("/login", {"username": "alice", "password": wrong})
        did = f"gave alice a password of {len(right)} letters, POST /login with {name}"
        told = "a token" if answer.status == 200 else answer
        expect(answer.status in (400, 401), did, told, "401")

    cases = {"other capitals": (words, words.title()), "no spaces": (words, words.replace(" ", ""))}
    for length in (8, 16, 32, 55, 56, 64, 72, 73, 100, 128, 255, 256, 512):
        right = words[: length - 1] + "!"
        cases[f"a letter more than {length}"] = right, right + "!"
        cases[f"the first {length - 1} of them"] = right, right[:-1]
        cases[f"another letter at place {length}"] = right, right[:-1] + "?"
    try:
        expect_each(cases, refused)
    finally:
        store(db, QUICK)


def test_stored_hash_is_no_password(app, db):
    stored = db.value("SELECT password_hash FROM users WHERE username = 'admin'")
    answer = app.post("/login", {"username": "admin", "password": stored})
    expect_refused(answer, "POST /login with the hash in the table as password", challenge=False)
    answer = app.post("/login", ADMIN)
    expect(answer.status == 200, "POST /login with the password itself", answer, "200")


def test_bad_login_is_told_why(app):
    def told(name, login):
        body, headers, status = login
        answer = app.post("/login", content=body, headers=headers)
        message = answer.json().get("message") if isinstance(answer.json(), dict) else None
        expect(
            answer.status == status and isinstance(message, str),
            f"POST /login with {name}",
            answer,
            f'{status} with {{"message": a sentence}}',
        )

    expect_each(BAD_LOGINS, told)


BODIES = {"json", "data", "files", "content"}  # options of a request


def test_login_takes_the_same_time(app, costly):
    seconds, work, told = {"admin": [], "nobody": []}, dict.fromkeys(("admin", "nobody"), 0.0), {}
    for _ in range(5):
        for name, times in seconds.items():
            before = cpu_seconds(app)
            answer = app.post("/login", {"username": name, "password": "letmein"})
            work[name] += cpu_seconds(app) - before
            expect_refused(answer, f"POST /login as {name} with a wrong password", challenge=False)
            times.append(answer.seconds)
            told[name] = set(answer.headers)
    did = "POST /login as admin and as nobody, with a wrong password"
    more = ", ".join(told["admin"] ^ told["nobody"])
    expect(
        not more, did, f"one of them has {more}", "the same headers in both answers", hint="headers"
    )
    ratio = min(seconds["admin"]) / min(seconds["nobody"])  # noise only makes a login longer
    expect(
        1 / 3 < ratio < 3,
        "5 × POST /login as admin and 5 × as nobody, with a wrong password",
        f"for the user who exists it took {as_long(ratio)}",
        "about the same time for both: between a third and three times",
    )
    ratio = work["admin"] / max(work["nobody"], 0.01)
    expect(
        2 / 3 < ratio < 3 / 2 or max(work.values()) < 0.1,  # It may hash for neither.
        "the same, and looked at the processor's time of the app",
        f"for the user who exists it worked {as_long(ratio)}",
        "about as much for both: an attacker averages many logins",
        hint="cheaper",
    )


def test_token_is_needed(app, db, product):
    order = {"product_id": product["id"], "quantity": 1}
    reads = ("GET /me", "GET /orders/1", "GET /orders/10", "GET /orders/999999999")
    protected = {"POST /orders": {"json": order}} | {name: {} for name in reads}

    def refused(name, options):
        expect_refused(app.request(*name.split(), **options), f"{name} without a token")

    expect_each(protected, refused)
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(
        stock == 1000,
        "POST /orders without a token",
        f"{amount(stock, 'item')} left",
        "1000, as before",
    )

    def stays_open(path, _):
        answer = app.get(path)
        did = f"GET {path} without a token"
        expect(answer.status == 200, did, answer, "200: it stays open", hint="closed")

    paths = "/", "/async", f"/products/{product['id']}", f"/quote/{product['id']}", "/data"
    expect_each(dict.fromkeys(paths), stays_open)


def test_odd_authorization_is_a_401(app, product):
    token = app.authorization()["Authorization"].removeprefix("Bearer ")
    expect_nobody(app, product, "an Authorization header", HEADERS, lambda make: make(token))
    did = f"{REFUSED:,} × GET /me with different tokens of 1 KB, none of them good"
    with rawhttp.Connection(app, timeout=5) as client:
        before = memory(app)
        for number in range(0, REFUSED, 20):
            tokens = [f"{n}.{'x' * 990}.{token[-9:]}" for n in range(number, number + 20)]
            requests = [rawhttp.get(f"Authorization: Bearer {t}".encode()) for t in tokens]
            client.send(b"".join(r.replace(b"/", b"/me", 1) for r in requests))
            last = [client.reply() for _ in requests][-1]
            if last is None:  # the server keeps no connection
                break
        grown = memory(app) - before
    expect(grown < 6, did, f"{grown:.0f} MiB more memory", "no more than before", hint="remembered")


REFUSED = 6000


def test_no_other_way_leads_in(app, db, product):
    token = app.authorization()["Authorization"].removeprefix("Bearer ")
    order = db.value("SELECT min(id) FROM orders WHERE customer = 'admin'")
    routes = {"/me": ("GET", "HEAD"), f"/orders/{order}": ("GET", "HEAD"), "/orders": ("POST",)}
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
    placed = db.value("SELECT count(*) FROM orders")
    cases = {
        f"{method} {path} {way}": (method, path, options, method in routes[path])
        for path in routes
        for method in methods
        for way, options in ways_to_bring(token).items()
        if not (method == "HEAD" and "json" in options)  # a server may refuse such a body
    }

    def kept_out(name, request):
        method, path, options, exists = request
        if method == "POST":
            fields = {"product_id": product["id"], "quantity": 1} | options.get("json", {})
            options = options | {"json": fields}
        answer = app.request(method, path, **options)
        if method == "OPTIONS" and answer.status in (200, 204):
            expect(not answer.body, name, answer, "the methods in Allow, and no body")
        elif exists:
            expect(answer.status == 401, name, answer, "401")
        else:
            expect(answer.status in (401, 404, 405), name, answer, "405 or 401")

    expect_each(cases, kept_out)

    def is_no_door(name, path):
        answer = app.get(path)
        ok = answer.status in (301, 302, 307, 308, 400, 401, 404, 405)
        expect(ok, name, answer, "401 or 404", hint="spelling")

    spellings = [
        "/me/", "/me;a=b", "/me.json", "/ME", "/me%20", "/%6De", "/api/me", "/me?debug=1",
        f"/orders/{order}/", f"/orders/{order}.json", f"/orders/{order};a=b", f"/orders//{order}",
        f"/orders/0{order}", f"/orders/+{order}", f"/ORDERS/{order}", f"/orders?id={order}",
        f"/order/{order}", f"/orders/%{ord(str(order)[0]):x}{str(order)[1:]}", "/orders",
    ]  # fmt: skip
    expect_each({f"GET {path} without a token": path for path in spellings}, is_no_door)
    more = db.value("SELECT count(*) FROM orders") - placed
    did = "POST /orders with a token anywhere but in the Authorization header"
    expect(more == 0, did, f"{amount(more, 'order')} placed", "none")
    expect_asked_first(app, product)
    expect_no_other_login(app)
    expect_alice_alone(app, db, product)


def expect_asked_first(app, product):
    """Nobody is told what is wrong with an order before it is known who orders."""
    order = json.dumps({"product_id": product["id"], "quantity": 1}).encode()
    keys = {
        f"an Idempotency-Key {what}": (order, JSON | {"Idempotency-Key": key}, 400)
        for what, key in IDEMPOTENCY_KEYS.items()
    }

    def asked(name, bad_order):
        content, headers, status = bad_order
        answer = app.post("/orders", content=content, headers=headers)
        # A server may refuse what is too long before it reads on.
        ok = answer.status == 401 or status == answer.status == 413
        did = f"POST /orders without a token, with {name}"
        expect(ok, did, answer, "401", hint="asked_first")

    expect_each(BAD_ORDERS | keys, asked)


def expect_no_other_login(app):
    """Only POST /login with a JSON object is a login."""

    def lets_nobody_in(name, request):
        method, options = request
        answer = app.request(method, "/login", **options)
        refused = answer.status >= 400 and b"token" not in answer.body
        told = "a token" if b"token" in answer.body else answer
        expect(refused, name, told, "405" if method != "POST" else "400 or 415", hint="other_login")

    ways = {}
    for method in ("POST", "GET", "HEAD", "PUT", "PATCH", "DELETE"):
        well_placed = {} if method == "POST" else {"in an object": {"json": ADMIN}}
        for where, options in (MISPLACED_LOGINS | well_placed).items():
            if method != "HEAD" or BODIES.isdisjoint(options):  # a server may refuse such a body
                ways[f"{method} /login with the password {where}"] = (method, options)
    expect_each(ways, lets_nobody_in)


def test_bad_token_is_named_in_the_challenge(app):
    forge = Forge(token_of(app, ADMIN))
    tokens = {
        "that is none": "a.b.c",
        "that has expired": forge.but(iat=now() - 600, exp=now() - 1),
    }

    def named(did, request):
        method, path, token = request
        answer = app.request(method, path, headers=bearer(token))
        expect_refused(answer, did)
        challenge = answer.headers.get("WWW-Authenticate", "(none)")
        expected = 'Bearer error="invalid_token": the client learns that it has to log in again'
        found = re.search(r'error="?invalid_token"?(?=$|[\s,])', challenge)
        expect(found, did, f"WWW-Authenticate: {challenge}", expected)

    routes = [("GET", "/me"), ("GET", "/orders/1"), ("POST", "/orders")]
    expect_each(
        {
            f"{method} {path} with a token {what}": (method, path, token)
            for method, path in routes
            for what, token in tokens.items()
        },
        named,
    )


def test_scheme_may_be_in_any_case(app):
    token = app.authorization()["Authorization"].removeprefix("Bearer ")

    def believed(scheme, _):
        answer = app.get("/me", headers={"Authorization": f"{scheme} {token}"})
        expect(answer.status == 200, f"GET /me, the scheme written {scheme}", answer, "200")

    expect_each(dict.fromkeys(("Bearer", "bearer", "BEARER")), believed)


def test_forged_token_is_a_401(app, forge, product):
    expect_nobody(app, product, "a token with", FORGED, forge.header)


def test_claims_are_verified(app, forge, product):
    expect_nobody(app, product, "a signed token with", CLAIMS, forge.header, claim_hint)


def test_odd_claims_are_a_401(app, forge, product):
    expect_nobody(app, product, "a signed token with", ODD_CLAIMS, forge.header)


def test_token_holds_in_every_time_zone(launch):
    def holds(zone, settings):
        did = f"POST /login where the clock shows the time of {zone}, then GET /me"
        token, me, early = fresh_token(launch(**settings))
        issued = read(token)[1].get("iat")
        expect(type(issued) is int, did, f"an iat of {issued!r}", "the time in UTC, in seconds")
        off = issued - now()
        expect(abs(off) < 300, did, f"iat is {off / 3600:+.1f} hours off", "the time in UTC")
        life, ttl = read(token)[1].get("exp", 0) - issued, settings["TOKEN_TTL"]
        expect(life == ttl, f"{did}, TOKEN_TTL={ttl}", f"exp - iat = {life}", f"{ttl}")
        expect(me.status == 200 or not early, did, me, "200")

    expect_each({settings["TZ"]: settings for settings in (TOKYO, NEW_YORK)}, holds)


def test_token_ends_at_its_second(launch):
    app = launch(**NEW_YORK)
    did = "POST /login with TOKEN_TTL=2, then GET /me until the second in exp has come"
    token, me, _ = fresh_token(app)
    expect(me.status == 200, did, me, "200 before that second")
    promised = app.post("/login", ADMIN).json().get("expires_in")
    got = f"expires_in: {promised}"
    expect(promised == 2, "POST /login with TOKEN_TTL=2", got, "2", hint="expires_in")
    end = read(token)[1].get("exp", 0)
    expect(end - now() <= 2, did, f"an exp in {end - now()} s", "an exp in 2 s at most")
    time.sleep(max(0, end - time.time()))
    expect_refused(app.get("/me", headers=bearer(token)), did)


def test_order_belongs_to_its_customer(app, db, product, services):
    body = {"product_id": product["id"], "quantity": 1}
    alices = app.authorization(**ALICE)
    placed = app.post("/orders", body, headers=alices)
    expect(placed.status == 201, "POST /orders as alice", placed, "201")
    id = placed.json()["id"]
    customer = db.value("SELECT customer FROM orders WHERE id = %s", id)
    expect(customer == "alice", "POST /orders as alice", f"an order of {customer}", "alice's order")
    own = app.get(f"/orders/{id}", headers=alices)
    expect(own.status == 200, "GET /orders/<id> as alice, who placed it", own, "200")
    none = app.get("/orders/999999999", headers=app.authorization())
    nobodys = db.value("SELECT min(id) FROM orders WHERE customer IS NULL")

    def hidden(whose, number):
        answer = app.get(f"/orders/{number}", headers=app.authorization())
        expect(
            (answer.status, answer.body) == (404, none.body),
            f"GET /orders/<id> of {whose} order as admin",
            answer,
            "404, as for an order that does not exist",
        )
        told = {*answer.headers.items()} ^ {*none.headers.items()}
        more = ", ".join(sorted({name for name, _ in told} - {"date"}))
        did = f"GET /orders/<id> of {whose} order and of one that doesn't exist, as admin"
        expect(not more, did, f"they differ in {more}", "the same headers", hint="headers")

    expect_each({"alice's": id, "nobody's": nobodys}, hidden)
    expect_each_their_own(app, db, product, id, services)


def expect_alice_alone(app, db, product):
    """Who brings a good token of alice is alice, whatever else the request says."""
    alices = app.authorization(**ALICE)
    admins = app.authorization()["Authorization"].removeprefix("Bearer ")
    theirs = db.value("SELECT min(id) FROM orders WHERE customer = 'admin'")
    usual = app.get(f"/orders/{theirs}", headers=alices).status
    answer = app.request("HEAD", f"/orders/{theirs}", headers=alices)
    did = "HEAD /orders/<id> of admin's order with alice's token"
    expect(answer.status in (usual, 405), did, answer, f"{usual}, as for GET", hint="own_name")

    def is_alice(name, options):
        options = options | {"headers": options.get("headers", {}) | alices}
        me = app.get("/me", **options)
        did = f"GET /me with alice's token, and {name} of admin"
        expect(
            me.status in (400, 401) or me.json() == {"username": "alice"},
            did,
            me,
            "alice",
            hint="own_name",
        )
        answer = app.get(f"/orders/{theirs}", **options)
        did = f"GET /orders/<id> of admin's order with alice's token, and {name} of admin"
        expect(
            answer.status in (400, 401, usual),
            did,
            answer,
            f"{usual}, as with the token alone",
            hint="own_name",
        )
        fields = {"product_id": product["id"], "quantity": 1} | options.get("json", {})
        answer = app.post("/orders", **options | {"json": fields})
        customer = answer.status == 201 and db.value(
            "SELECT customer FROM orders WHERE id = %s", answer.json()["id"]
        )
        did = f"POST /orders with alice's token, and {name} of admin"
        ok = customer == "alice" if answer.status == 201 else answer.status in (400, 401, 422)
        expect(
            ok,
            did,
            f"{answer.status}, an order of {customer}",
            "an order of alice",
            hint="own_name",
        )

    ways = ways_to_bring(admins)
    expect_each({way.removeprefix("with "): ways[way] for way in ways}, is_alice)


def expect_each_their_own(app, db, product, id, services):
    """Customers who ask at the same time are told apart, wherever their requests wait."""
    alices, admins = app.authorization(**ALICE), app.authorization()
    did = "an order of admin waits in PostgreSQL, meanwhile GET /me as alice"
    with held_order(app, db, product, services) as order:
        app.get("/me", headers=alices)
    number = order().json()["id"]
    customer = db.value("SELECT customer FROM orders WHERE id = %s", number)
    expect(customer == "admin", did, f"an order of {customer}", "an order of admin", hint="at_once")
    did = "orders of admin and of alice, which both wait for the table of products"
    body = {"product_id": product["id"], "quantity": 1}
    with table_locked(services, "products"):
        both = [Request("POST", "/orders", body, headers) for headers in (admins, alices)]
        bursts = [Burst(app, [request]) for request in both]
        eventually(lambda: db.value(WAITING) == 2, 3)
    numbers = [burst.answers()[0].json()["id"] for burst in bursts]
    select = "SELECT customer FROM orders WHERE id = %s"
    owners = [db.value(select, number) for number in numbers]
    expect(owners == ["admin", "alice"], did, f"orders of {owners}", "each their own", "at_once")
    path = f"/orders/{id}"
    did = f"GET {path} as alice, whose order it is, and as admin, both wait in PostgreSQL"
    with table_locked(services, "orders"):
        both = [Request("GET", path, headers=headers) for headers in (alices, admins)]
        bursts = [Burst(app, [request]) for request in both]
        eventually(lambda: db.value(WAITING) == 2, 3)
    statuses = [burst.answers()[0].status for burst in bursts]
    expect(statuses == [200, 404], did, statuses, "200 for alice, 404 for admin", hint="at_once")
    did = "POST /login as alice and as admin, both wait in PostgreSQL"
    with table_locked(services, "users"):
        bursts = [Burst(app, [Request("POST", "/login", user)]) for user in (ALICE, ADMIN)]
        eventually(lambda: db.value(WAITING) == 2, 3)
    names = [read(burst.answers()[0].json()["token"])[1].get("sub") for burst in bursts]
    expect(
        names == ["alice", "admin"], did, f"tokens of {names}", "alice's, admin's", hint="at_once"
    )


def test_key_belongs_to_its_customer(app, db, product):
    body, key = {"product_id": product["id"], "quantity": 1}, f"mug-{product['id']}"
    did = "POST /orders as alice and as admin, by chance with the same Idempotency-Key"
    ids = []
    for customer in (ALICE, ADMIN):
        headers = app.authorization(**customer) | {"Idempotency-Key": key}
        first = app.post("/orders", body, headers=headers)
        for token in (headers, headers | bearer(token_of(app, customer))):
            again = app.post("/orders", body, headers=token)
            ok = first.status == again.status == 201 and first.body == again.body
            got = f"{customer['username']} got {first}, then {again}"
            expect(ok, did, got, "201, and the same for the order repeated, also after a new login")
        ids.append(first.json()["id"])
    rows = db.query("SELECT customer FROM orders WHERE id = ANY(%s) ORDER BY id", ids)
    got = f"orders {ids} of {[customer for (customer,) in rows]}"
    expect(rows == [("alice",), ("admin",)], did, got, "an order of alice and one of admin")


def test_order_of_a_user_who_is_gone_is_a_401(app, forge, db, product):
    body = {"product_id": product["id"], "quantity": 1}
    answer = app.post("/orders", body, headers=bearer(forge.but(sub="gone")))
    expect_refused(answer, "POST /orders with a good token of a user who is no longer there")
    stock = db.value("SELECT stock FROM products WHERE id = %s", product["id"])
    expect(stock == 1000, "the same", f"{amount(stock, 'item')} left", "1000, as before")


def test_hashing_stalls_nobody(app, costly):
    did = "4 logins at once, meanwhile GET / over and over on another connection"
    alone = min(app.post("/login", ADMIN).seconds for _ in range(3))
    least = 1.0
    for _ in range(3):
        logins, asked = Logins(app, 4), []
        while logins.under_way():
            asked.append(app.get("/").seconds)
        logins.expect_tokens(did)
        stalled = sum(seconds for seconds in asked if seconds > alone / 2)
        least = min(least, stalled / (sum(asked) or 1))
        if least < 0.5 or len(asked) > 30:  # On the event loop, it is one or two for each login.
            return
    got = f"{100 * least:.0f} % of the time went in requests that took half as long as a login"
    expect(False, did, got, "next to none: a request is answered while others hash")


def test_hashing_holds_no_connection(app, db, costly):
    did = "4 logins at once, meanwhile looked at their connections in PostgreSQL"
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
    least = 1.0
    for _ in range(3):
        logins, held = Logins(app, 4), []
        while logins.under_way():
            held.append(db.value(idle) > 0)
            time.sleep(0.002)
        logins.expect_tokens(did)
        least = min(least, sum(held) / max(1, len(held)))
        if least < 0.5:
            return
    share = f"a transaction stood open in {100 * least:.0f} % of the looks"
    expect(False, did, share, "none while a hash is computed")


def test_guesses_are_throttled(launch, redis):
    app = launch(**STRICT)
    did = "POST /login with wrong passwords, LOGIN_ATTEMPTS=3"
    guesses = [WRONG | {"password": f"letmein{number}"} for number in range(5)]
    answers = [app.post("/login", guess) for guess in guesses]
    statuses = [a.status for a in answers]
    expect(statuses == [401] * 3 + [429] * 2, did, statuses, "401 three times, then 429")
    retry = answers[-1].headers.get("Retry-After", "(none)")
    expect(
        retry.isdigit() and 0 < int(retry) <= 600,
        f"{did}, LOGIN_WINDOW=600",
        f"Retry-After: {retry}",
        "Retry-After: the seconds until the window ends",
        hint="retry_after",
    )
    right = app.post("/login", ADMIN)
    did_right = f"{did}, then with the right one"
    expect(right.status == 429, did_right, right, "429: it may be a guess", hint="right_one")
    other = app.post("/login", ALICE)
    did_other = f"{did}, as admin, then as alice with the right one"
    expect(other.status == 200, did_other, other, "200", hint="other_user")
    expect_other_address_free(app, did)
    endless = [key.decode() for key in redis.scan_iter() if redis.ttl(key) < 0]
    expect(not endless, did, f"keys in Redis that never expire: {endless}", "an expiry on each")
    for key in redis.scan_iter():  # so the window ends now
        redis.pexpire(key, 1)
    answer = eventually(lambda: (a := app.post("/login", ADMIN)).status == 200 and a, 5)
    expect(answer, f"{did}, then the window ended, then the right one", right, "200")
    redis.flushdb()
    did = "POST /login with wrong passwords, LOGIN_ATTEMPTS=12, LOGIN_WINDOW=30"
    answers = [launch(**NEW_YORK).post("/login", WRONG) for _ in range(13)]
    statuses = [answer.status for answer in answers]
    expect(
        statuses == [401] * 12 + [429], did, statuses, "401 twelve times, then 429", hint="settings"
    )
    retry = answers[-1].headers.get("Retry-After", "(none)")
    ok = retry.isdigit() and 0 < int(retry) <= 30
    expect(ok, did, f"Retry-After: {retry}", "30 at most", hint="settings")


def expect_other_address_free(app, did):
    """The same user may log in from another address of this machine, where it has one."""
    with suppress(httpx.ConnectError):  # macOS has no second address on the loopback
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
            answer = client.post(f"{app.url}/login", json=ADMIN, timeout=PATIENCE)
        expected = "200: who guesses at a user's password can't keep the user out"
        expect(
            answer.status_code == 200,
            f"{did}, then with the right one from another address",
            answer.status_code,
            expected,
            hint="other_address",
        )


def test_login_clears_the_count(launch):
    app = launch(**STRICT)
    did = "twice two wrong passwords and then the right one, LOGIN_ATTEMPTS=3"
    statuses = [app.post("/login", b).status for b in [WRONG, WRONG, ADMIN] * 2]
    expect(statuses == [401, 401, 200] * 2, did, statuses, "401, 401, 200, and the same again")


def test_login_clears_only_its_own_count(launch):
    app = launch(**STRICT)
    did = (
        "two wrong passwords of admin, alice's right one, two wrong ones of admin, LOGIN_ATTEMPTS=3"
    )
    statuses = [app.post("/login", body).status for body in (WRONG, WRONG, ALICE, WRONG, WRONG)]
    expect(statuses == [401, 401, 200, 401, 429], did, statuses, "401, 401, 200, 401, 429")
    did = "admin's right password from another address, then a wrong one from the first"
    expect_other_address_free(app, did)
    answer = app.post("/login", WRONG)
    expect(answer.status == 429, did, answer, "429: an attacker's guesses stay counted")


def test_guesses_at_two_processes_are_counted(launch, redis):
    apps = launch(**STRICT), launch(**STRICT | {"JWT_SECRET": JWT_SECRET})
    did = "POST /login with wrong passwords, at two processes in turn, LOGIN_ATTEMPTS=3"
    statuses = [apps[number % 2].post("/login", WRONG).status for number in range(6)]
    keys = f"; {amount(redis.dbsize(), 'key')} in Redis"
    expect(statuses == [401] * 3 + [429] * 3, did, f"{statuses}{keys}", "401 three times, then 429")


def test_unknown_names_are_throttled(launch, redis):
    app = launch(**STRICT)
    for name, what in {
        "nobody": "a name that no user has",
        "n" * 9000: "a name of 9,000 letters",
    }.items():
        body = {"username": name, "password": "letmein"}
        did = f"POST /login with {what}, LOGIN_ATTEMPTS=3"
        statuses = [app.post("/login", body).status for _ in range(5)]
        expect(statuses == [401] * 3 + [429] * 2, did, statuses, "as for a name that a user has")
    longest = max(map(len, redis.keys()), default=0)
    expect(longest < 1000, did, f"a key of {longest} bytes in Redis", "no key as long as that")


def test_forwarded_address_is_not_believed(launch):
    app = launch(**STRICT)
    did = "wrong passwords, each with another X-Forwarded-For and the like, LOGIN_ATTEMPTS=3"
    statuses = [app.post("/login", WRONG, headers=forwarded(n)).status for n in range(5)]
    expected = "401 three times, then 429: a client can write what it likes there"
    expect(statuses == [401] * 3 + [429] * 2, did, statuses, expected)


def test_attempts_do_not_prolong_the_window(launch, redis):
    app = launch(**STRICT)
    app.post("/login", WRONG)
    counts_kept = redis.keys()
    did = "a wrong password, made its count in Redis expire in 100 s, more wrong passwords"
    expect(counts_kept, "POST /login with a wrong password", "no key in Redis", "a count")
    for key in counts_kept:
        redis.expire(key, 100)
    for _ in range(4):
        answer = app.post("/login", WRONG)
    left = max(redis.ttl(key) for key in counts_kept)
    expect(left <= 100, did, f"it expires in {left} s", "in 100 s: who tries on waits no longer")
    retry = answer.headers.get("Retry-After", "(none)")
    got = f"{answer.status}, Retry-After: {retry}; the count expires in {left} s"
    honest = retry.isdigit() and left - 1 <= int(retry) <= 101
    expect(
        honest or answer.status != 429,
        did,
        got,
        "429 with the seconds that are left",
        hint="retry_after",
    )


def test_count_comes_with_its_expiry(launch, redis):
    app = launch(**STRICT)
    with watched(redis) as seen:
        answer = app.post("/login", WRONG)
    expect_refused(answer, "POST /login with a wrong password", challenge=False)
    expect_expiry_with_value(seen, "POST /login with a wrong password")


def test_default_limit_is_ten_in_a_minute(app, redis):
    did = "POST /login with wrong passwords, without settings"
    app.post("/login", ALICE)  # What a first login opens may stay open.
    before = kept_open(app, redis)
    answers = [app.post("/login", WRONG) for _ in range(11)]
    statuses = [answer.status for answer in answers]
    more = [after - b for after, b in zip(kept_open(app, redis), before, strict=True)]
    expect(statuses == [401] * 10 + [429], did, statuses, "401 ten times, then 429")
    retry = answers[-1].headers.get("Retry-After", "(none)")
    ok = retry.isdigit() and 0 < int(retry) <= 60
    expect(ok, did, f"Retry-After: {retry}", "60 at most")
    files, more_threads, connections = more
    got = f"{files} more open files, {more_threads} threads, {connections} connections to Redis"
    expect(max(more) < 8, did, got, "none for each login", hint="kept_open")


def kept_open(app, redis) -> tuple[int, int, int]:
    """Open files, threads, and the connections that Redis has had so far."""
    return open_files(app), threads(app), redis.info("stats")["total_connections_received"]


def test_flood_of_logins_ends_soon(launch, costly):
    app = launch(fresh=True)
    try:
        expect_a_token_despite_a_flood(app)
    finally:
        app.server.kill()  # It may hash on for long.


def expect_a_token_despite_a_flood(app):
    did = f"{FLOOD} logins of different users, sent and hung up at once, then a right one"
    alone = median(app.post("/login", ADMIN).seconds for _ in range(3))
    for number in range(FLOOD):
        Logins(app, 1, {"username": f"user{number}", "password": "letmein"}).hang_up()
    app.get("/")
    time.sleep(3 * alone)  # The flood has arrived, and waits in whatever queue there is.
    deadline = time.monotonic() + FLOOD / 8 * alone
    answer = None
    while answer is None or answer.status in (429, 503):
        login = Burst(app, [Request("POST", "/login", ADMIN)])
        in_time = login.over(deadline - time.monotonic())
        got = f"no token in the time that {FLOOD // 8} logins take"
        expect(in_time, did, got, "200 after a moment, or 503 with Retry-After and then 200")
        answer = login.answers()[0]
        expect(answer, did, "no answer", "200")
        retry = answer.headers.get("Retry-After", "(none)")
        got = f"{answer.status}, Retry-After: {retry}"
        expect(answer.status == 200 or retry.isdigit(), did, got, "Retry-After: seconds")
        time.sleep(0.05)
    expect(answer.status == 200, did, answer, "200")


FLOOD = 240


def test_guesses_at_once_are_counted(launch, db, services, costly):
    app = launch(**STRICT)
    with table_locked(services, "users"):  # so that they meet where the user is looked up
        guesses = Burst(app, [Request("POST", "/login", WRONG)] * 12)
        eventually(lambda: db.value(WAITING) == 12, 3)
    answers = guesses.answers()
    looked_at = sum(a is not None and a.status == 401 for a in answers)
    expect(
        looked_at <= 3 and counts(answers).endswith("× 429"),
        "12 × POST /login at once with a wrong password, LOGIN_ATTEMPTS=3",
        f"{looked_at} passwords were looked at",
        "3 × 401, 9 × 429",
    )


def test_throttle_fails_open(launch, services):
    app = launch(fresh=True, **STRICT)  # It may leave Redis alone for a while afterwards.
    services.valkey.stop()
    try:
        statuses = [app.post("/login", body).status for body in [WRONG] * 5 + [ADMIN]]
    finally:
        services.valkey.start()
    expect(
        statuses == [401] * 5 + [200],
        "stopped Redis, then POST /login five times with a wrong password, once with the right one",
        statuses,
        "401 five times, then 200: without Redis nobody is locked out",
    )


def test_short_secret_is_refused(try_to_start):
    short = "thirty-one bytes are not enough"

    def refused(name, settings):
        did = f"started the app with {name}"
        started, output = try_to_start(**settings)
        expect(not started, did, "an app that answers", "an app that ends at once and says why")
        expect_sentence(output, short, did)

    cases = {
        "a JWT_SECRET of 31 bytes": {"JWT_SECRET": short},
        "an empty JWT_SECRET": {"JWT_SECRET": ""},
        "a JWT_SECRET_PREVIOUS of 31 bytes": {"JWT_SECRET_PREVIOUS": short},
    }
    expect_each(cases, refused)


def test_secret_is_not_in_the_code(launch):
    app, another = launch(**STRICT), launch(**NEW_YORK)
    did = "started two apps without JWT_SECRET"
    own = app.get("/me", headers=bearer(token_of(app, ADMIN)))
    expect(own.status == 200, f"{did}, asked the first with its own token", own, "200")
    answer = fresh_token(another, asked=app)[1]
    expect_refused(answer, f"{did}, asked the first with a token of the second")
    output = app.server.output()
    words = f"{output} {app.get('/').headers} {app.get('/').body!r} {own.headers}"
    token = Forge(token_of(app, ADMIN))
    found = any(token.signed_with(key) for key in keys_in(words))
    expect(
        not found,
        did,
        "the secret in the output or in an answer",
        "a secret that nobody reads",
        hint="shown_secret",
    )
    lines = [line for line in output.splitlines() if "JWT_SECRET" in line]
    got = f"{amount(len(lines), 'line')} about it in the output"
    expect(len(lines) == 1, did, got, "one warning", hint="one_warning")


PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----"""


def test_unusable_secret_is_refused(try_to_start, launch):
    did = "started the app with half of a key pair as JWT_SECRET"
    started, output = try_to_start(JWT_SECRET=PUBLIC_KEY)
    if started:
        answer = launch(JWT_SECRET=PUBLIC_KEY).post("/login", ADMIN)
        expect(answer.status == 200, f"{did}, POST /login", answer, "an app that refuses to start")
    else:
        expect_sentence(output, PUBLIC_KEY, did)


def test_password_is_looked_up_each_time(app, db, services):
    did = "POST /login as admin, changed admin's password in PostgreSQL, POST /login"
    for body in (ADMIN, WRONG):
        app.post("/login", body)
    store(db, {"admin": QUICK["alice"]})
    try:
        old, new = app.post("/login", ADMIN), app.post("/login", ADMIN | {"password": "wonderland"})
    finally:
        store(db, QUICK)
    expect(old.status == 401, f"{did} with the old one", old.status, "401")
    expect(new.status == 200, f"{did} with the new one", new.status, "200")
    names = [f"user{number}" for number in range(10)]
    logins = [Request("POST", "/login", {"username": n, "password": "letmein"}) for n in names]
    for _ in range(2):
        with table_locked(services, "users"):
            burst = Burst(app, logins)
            eventually(lambda: db.value(WAITING) == len(logins), 3)
            for pid in backends(app, db):
                db.query("SELECT pg_terminate_backend(%s, 5000)", pid)
        burst.answers()
    did = "PostgreSQL ended the connections of 20 logins, then POST /login"
    answer = app.post("/login", ADMIN)
    expect(answer.status == 200, did, answer, "200: none of them keeps its place", hint="places")


def test_previous_secret_is_accepted(launch, app):
    renewed, real = launch(**TOKYO), Forge(token_of(app, ADMIN))
    for name, secret, status in (
        ("JWT_SECRET", JWT_SECRET, 200),
        ("JWT_SECRET_PREVIOUS", TOKYO["JWT_SECRET_PREVIOUS"], 200),
        ("a third secret", "q" * 32, 401),
    ):
        answer = renewed.get("/me", headers=bearer(real.token(secret=secret)))
        expect(answer.status == status, f"GET /me, signed with {name}", answer, f"{status}")
    with suppress(NotStarted):  # An empty secret may be one that is too short.
        emptied = launch(fresh=True, JWT_SECRET_PREVIOUS="")
        answer = emptied.get("/me", headers=bearer(real.token(secret="")))
        expect_refused(answer, "GET /me, signed with nothing, JWT_SECRET_PREVIOUS is empty")
    new = Forge(token_of(renewed, ADMIN))
    did, got = "looked what a new token is signed with", "another secret"
    expect(new.signed_with(JWT_SECRET), did, got, "JWT_SECRET, not the previous")


def test_secrets_stay_secret(app, db, product):
    alice = token_of(app, ALICE)
    secret = {
        "JWT_SECRET": forms(JWT_SECRET),
        "a password": forms(ALICE["password"]),
        "a wrong password": {"sesame-4711"},
        "a token": {alice},
        "a hash": pieces(db.value("SELECT password_hash FROM users WHERE username = 'alice'")),
    }
    token, wrong = bearer(alice), "sesame-4711"
    login = app.post("/login", ALICE)
    stored = login.headers.get("Cache-Control", "(none)")
    did = "POST /login as alice"
    expect("no-store" in stored, did, f"Cache-Control: {stored}", "no-store: the answer is a key")
    carried = json.dumps(read(login.json()["token"]))
    inside = [name for name in secret if any(form in carried for form in secret[name])]
    got = f"{', '.join(inside)} in the token, which anybody can read"
    expect(not inside, did, got, "a token that holds no secret")
    order = {"product_id": product["id"], "quantity": 1}
    placed = app.post("/orders", order, headers=token)
    answers = [
        placed,
        app.post("/login", {"username": "alice", "password": wrong}),
        app.post("/login", {"username": 7, "password": wrong}),
        app.post("/login", content=f'{{"password": "{wrong}"', headers=JSON),
        app.get("/me", headers=token),
        app.get("/me", headers={"Authorization": token["Authorization"] + "x"}),
        app.get("/orders/1", headers=token),
        app.get(placed.headers.get("Location", "/"), headers=token),
        app.post("/orders", {"product_id": product["id"]}, headers=token),
        app.get("/"),
        app.get("/nothing-here", headers=token),
    ]
    texts = [f"{a.headers} {a.body!r}" for a in answers]
    renewed = [
        token for text in texts for token in re.findall(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", text)
    ]
    did, got = "requests with a token", f"{len(renewed)} answers with a token in them"
    expect(not renewed, did, got, "no token in any answer but that of POST /login", hint="renewed")
    places = {"an answer": "".join(f"{a.headers} {a.body!r}" for a in answers)}
    places["the app's output"] = app.server.output()
    found = [
        f"{name} in {place}"
        for place, text in places.items()
        for name, forms in secret.items()
        if any(form in text for form in forms)
    ]
    did = "logins, right and wrong, and requests with a token, good and bad"
    expect(not found, did, ", ".join(found), "no secret in an answer or in the app's output")
    shared = {a.headers.get("Cache-Control", "") for a in answers[:8]}
    kept = [text for text in shared if "public" in text or "s-maxage" in text]
    got = f"Cache-Control: {', '.join(kept)}"
    expect(
        not kept,
        "requests with a token",
        got,
        "nothing that a shared cache may keep",
        hint="shared_cache",
    )
    expect_closed_to_other_sites(app, token)
    expect_log_of_its_own(app, token)


def expect_closed_to_other_sites(app, token):
    """No page of another site may read an answer: browsers ask for that in Origin."""

    def closed(did, request):
        method, path, origin = request
        preflight = {
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = app.request(method, path, headers=preflight | token)
        allowed = answer.headers.get("Access-Control-Allow-Origin", "")
        got = f"Access-Control-Allow-Origin: {allowed}"
        expect(
            not allowed, did, got, "none: the shop has no pages on other sites", hint="other_sites"
        )

    origins = ("https://elsewhere.example", "null", f"{app.url}.elsewhere.example")
    cases = {
        f"{method} {path} with Origin: {origin}": (method, path, origin)
        for method in ("GET", "OPTIONS", "POST")
        for path in ("/me", "/login", "/orders", "/data")
        for origin in origins
    }
    expect_each(cases, closed)


def expect_log_of_its_own(app, token):
    """What a client sends begins no line of the log: it could look like one of the app's."""
    for text in LINES:
        for body in (WRONG | {"username": text}, WRONG | {"password": text}, WRONG | {text: text}):
            app.post("/login", content=json.dumps(body), headers=JSON)
        app.post("/orders", {"product_id": text, "quantity": 1}, headers=token)
        app.request("GET", "/" + quote(text), params={text: text}, headers=token)
        app.get("/orders/" + quote(text), headers=token)
        app.get("/me", headers={"Authorization": "Bearer " + quote(text)})
    forged = forged_lines(app.server.output())
    did = "logins, orders and paths with a line break and forged-4711 in them"
    expect(
        not forged,
        did,
        f"in the output: {forged[:1]!r:.80}",
        "no line that a client began",
        hint="own_lines",
    )


@pytest.mark.parametrize("what", MISFRAMED)
def test_misframed_login_stays_out_of_the_log(app, what):
    password = f"sesame-{what}".replace(" ", "-")
    body = f'{{"username": "alice", "password": "{password}"}}'
    lines = MISFRAMED[what].format(length=len(body))
    with rawhttp.Connection(app, timeout=3) as client:
        head = f"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{lines}"
        client.send(f"{head}\r\n\r\n{body}\r\n\r\n".encode())
        statuses = {reply.status for reply in client.replies()}
    did = f"POST /login with {what}, then a good one"
    expect(statuses.isdisjoint({200, 404, 500}), did, statuses, "400, 401, or no answer")
    token_of(app, ALICE)
    said = [line for line in app.server.output().splitlines() if password in line]
    got = f"{amount(len(said), 'line')} of output with the password"
    expect(not said, did, got, "none")


def expect_sentence(output: str, secret: str, did: str) -> None:
    """The app ended with one sentence about its secret."""
    last = output.strip().splitlines()[-1] if output.strip() else "(nothing)"
    expect(
        "Traceback" not in output and "JWT_SECRET" in last and secret not in output,
        did,
        f"{len(output.splitlines())} lines of output, the last of them: {last}",
        "one sentence about JWT_SECRET, without the secret and without a traceback",
    )


def expect_no_login(app, redis, name: str, body: dict) -> None:
    """The answer that each failed login has, whatever was wrong with it."""
    redis.flushdb()  # Other failed logins don't count here.
    did = f"POST /login with {name}"
    answer = app.post("/login", content=json.dumps(body), headers=JSON)
    expect_refused(answer, did, challenge=False, hint="padded" if name in PADDED else "")
    expected = 'the same {"message": "Invalid credentials"} whatever is wrong'
    same = answer.json() == {"message": "Invalid credentials"}
    expect(same, did, answer, expected, hint="message")


def expect_nobody(app, product, kind: str, cases: dict, header, hint=lambda name: "") -> None:
    """Whoever comes with such an Authorization is nobody, on every route that wants to know.

    header(case) makes it. One route after another: the cases that a failure names failed there.
    """
    order = {"product_id": product["id"], "quantity": 1}
    routes = {"GET /me": {}, "GET /orders/1": {}, "POST /orders": {"json": order}}
    for route, options in routes.items():

        def refused(name, case, route=route, options=options):
            answer = app.request(*route.split(), headers=authorization(header(case)), **options)
            is_open = answer.status == 200 and app.request(*route.split(), **options).status == 200
            reason = "open_route" if is_open else hint(name)
            expect_refused(answer, f"{route} with {kind} {name}", hint=reason)

        expect_each(cases, refused)


def expect_refused(answer, did: str, challenge: bool = True, hint: str = "") -> None:
    """401 with a sentence, and with the challenge that tells a client what to bring."""
    body = answer.json() if isinstance(answer.json(), dict) else {}
    expect(
        answer.status == 401 and isinstance(body.get("message"), str),
        did,
        "a token" if "token" in body else answer,
        '401 with {"message": a sentence}',
        hint if answer.status == 200 else "",
    )
    given = answer.headers.get("WWW-Authenticate", "(none)")
    expect(
        not challenge or re.match(r"Bearer\b", given),
        did,
        f"401, WWW-Authenticate: {given}",
        "401, WWW-Authenticate: Bearer",
        hint="challenge",
    )


def token_of(app, body: dict) -> str:
    """A new token; the check fails where the login does."""
    answer = app.post("/login", body)
    token = (answer.json() or {}).get("token")
    expect(
        answer.status == 200 and isinstance(token, str),
        f"POST /login as {body['username']}",
        answer,
        "200 with a token",
    )
    return token


def fresh_token(app, asked=None):
    """A token, the answer of GET /me (`asked` another app) and whether it came before its end.

    A token of two seconds can end before it is used, on a busy machine: then another one.
    """
    for _ in range(5):
        token = token_of(app, ADMIN)
        me = (asked or app).get("/me", headers=bearer(token))
        early = time.time() < read(token)[1].get("exp", 0)
        if me.status == 200 or early:
            break
    return token, me, early


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
