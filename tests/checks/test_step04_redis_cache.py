"""Step 4: the report is computed once, is never older than an order, and needs no Redis."""

import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest
from activity import hung
from blackbox import SUPPLIER, CheckFailed, Request, amount, counts, eventually, expect
from bursts import Burst
from commands import command_count, expect_expiry_with_value, watched
from locks import held_order
from postgres_proxy import proxied
from reports import (
    KEY,
    REPORT,
    at_work,
    counted,
    deaf_server,
    differing,
    expect_order,
    expect_orders,
    expect_report,
    forget,
    fresh,
    is_json,
    max_age,
    rubbish,
    same_report,
    warm,
    x_cache,
)
from tables import expect_each

GET_DATA = Request("GET", "/data")


@pytest.fixture(scope="session", autouse=True)
def fewer_orders(database):
    """A tenth of the orders: right reports are right over them too, and come sooner."""
    db = database()
    db.query("DELETE FROM orders WHERE id BETWEEN 20001 AND 200000")
    db.query("VACUUM orders")


def test_hit_asks_no_database(app, db, redis):
    forget(app, redis)
    did = f"deleted {KEY}, then GET /data six times, one after another"
    answers, made = counted(db, lambda: [app.get("/data") for _ in range(6)])
    expect(counts(answers) == "6 × 200", did, counts(answers), "6 × 200")
    expect(made == 1, did, f"{amount(made, 'query', 'queries')} for the report", "1, by the first")


def test_x_cache_tells_the_truth(app, db, redis):
    for _ in range(3):
        forget(app, redis)
        for expected, queries in (("MISS", 1), ("HIT", 0), ("HIT", 0)):
            answer, made = counted(db, lambda: app.get("/data"))
            did = f"deleted {KEY}, GET /data; PostgreSQL computed {amount(made, 'report')}"
            got, wanted = f"X-Cache: {x_cache(answer)}", amount(queries, "report")
            expect(made == queries, did, got, wanted, hint="queries")
            expect(x_cache(answer) == expected, did, got, expected)


def test_hit_repeats_the_miss(app, redis):
    forget(app, redis)
    did = "GET /data twice: a miss, a hit"
    miss, hit = app.get("/data"), app.get("/data")
    expect(hit.body == miss.body, did, differing(miss.body, hit.body), "the same bytes")
    types = [answer.headers.get("Content-Type") for answer in (miss, hit)]
    expect(types[0] == types[1], did, f"Content-Type: {types[0]}, {types[1]}", "the same twice")
    expect(x_cache(hit) == "HIT", did, f"X-Cache: {x_cache(hit)}", "a MISS, then a HIT")


def test_key_holds_json(app, redis):
    warm(app)
    kind = redis.type(KEY).decode()
    expect(kind == "string", f"TYPE {KEY}", kind, "string")
    value = redis.get(KEY)
    expect(is_json(value), f"GET {KEY}", f"{value[:9]!r}…", "JSON")


def test_key_expires(app, redis):
    forget(app, redis)
    app.get("/data")
    ttl = redis.ttl(KEY)
    did = f"GET /data, a miss, then TTL {KEY}"
    told = {-2: "no such key", -1: "no expiry"}.get(ttl, f"{ttl} s")
    expect(ttl != -2, did, told, "a key that expires in 60 s at the most", hint="no_key")
    expect(0 < ttl <= 60, did, told, "60 s at the most")
    redis.expire(KEY, 30)
    for _ in range(3):
        app.get("/data")
    ttl = redis.ttl(KEY)
    did = f"shortened the TTL to 30 s, GET /data three times, then TTL {KEY}"
    expected = "30 s at the most: a hit does not make it younger"
    expect(0 < ttl <= 30, did, f"{ttl} s", expected, hint="prolonged")


def test_old_report_is_renewed(launch, redis):
    app = launch(CACHE_TTL=2)
    did = "CACHE_TTL is 2 s; GET /data again and again"
    forget(app, redis)
    kept = eventually(lambda: same_report(app))
    got = "each answer has its own generated_at"
    expect(kept, did, got, "the same for 2 s", hint="not_cached")
    renewed = eventually(lambda: app.get("/data").json()["generated_at"] != kept, every=0.1)
    expect(renewed, did, "the same report after 10 s", "a new one")


def test_max_age_is_what_is_left(launch, redis):
    app = launch(CACHE_TTL=2)
    did = "CACHE_TTL is 2 s; GET /data until the report is a new one"
    forget(app, redis)
    kept = app.get("/data").json()["generated_at"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        asked = datetime.now(UTC)
        answer = app.get("/data")
        promised, generated_at = max_age(answer, did), answer.json()["generated_at"]
        left = 2 - (asked - datetime.fromisoformat(generated_at)).total_seconds()
        got = f"max-age={promised} when {left:.1f} s were left of the 2 s"
        expect(promised < left + 1.5, did, got, "the seconds that are left, rounded up")
        if generated_at != kept:
            return
        time.sleep(0.1)


def test_stampede_makes_one_query(app, db, redis, orders_locked):
    did = "100 × GET /data at once, and nothing cached"
    stampede([app], did, db, redis, orders_locked, almost="second_look")


def test_stampede_in_two_processes_makes_one_query(app, other, db, redis, orders_locked):
    did = "100 × GET /data at once, at two processes, and nothing cached"
    stampede([app, other], did, db, redis, orders_locked)


def test_dead_process_delays_nobody_for_long(app, other, db, redis, orders_locked):
    warm(other)
    forget(app, redis)
    did = "a process computes the report; looked at its keys in Redis"
    known = set(redis.keys())
    with orders_locked():
        dead = Burst(other, [GET_DATA])
        expect(eventually(lambda: at_work(db)), did, "no query for the report", "one")
        lives = {key: redis.pttl(key) for key in set(redis.keys()) - known}
        os.kill(other.server.process.pid, signal.SIGSTOP)
    try:
        for key, life in lives.items():
            told = "no expiry" if life == -1 else f"an expiry in {life / 1000:.1f} s"
            got = f"{key.decode(errors='replace')[:40]} has {told}"
            expect(life <= 2000 and life != -1, did, got, "2 s at the most")
        did = "the process stands still while it computes, GET /data twice from another"
        answers = [app.get("/data") for _ in range(2)]
        expect(counts(answers) == "2 × 200", did, counts(answers), "2 × 200")
        got = ", ".join(f"X-Cache: {x_cache(a)} after {a.seconds:.1f} s" for a in answers)
        expected = "HIT for the second: the first waits until the dead process's right to compute"
        expected += " has expired, computes, and stores"
        expect(x_cache(answers[1]) == "HIT", did, got, expected, hint="not_taken_over")
    finally:
        os.kill(other.server.process.pid, signal.SIGCONT)
        dead.answers()


def test_order_is_seen_at_once(app, db, redis, product):
    for _ in range(3):
        fresh(app, redis)
        expect_order(app, product)
        expect_orders(app, db, "GET /data, one order, GET /data")


def test_unanswered_order_is_seen(launch, db, redis, product, services):
    did = "GET /data, an order whose COMMIT gets no answer, GET /data"
    before = db.value("SELECT count(*) FROM orders")
    with proxied(services) as (proxy, url):
        app = launch(fresh=True, DATABASE_URL=url)
        fresh(app, redis)
        proxy.break_before(lambda data: db.value("SELECT count(*) FROM orders") > before)
        app.order(product["id"], 1)
        expect_orders(app, db, did)


def test_order_in_flight_is_not_missed(app, db, redis, product, services):
    fresh(app, redis)
    did = "GET /data while an order waits in PostgreSQL, then let it commit, then GET /data"
    with held_order(app, db, product, services) as order:
        app.get("/data")
    answer = order()
    expect(answer and answer.status == 201, did, answer or "no answer", "201 for the order")
    expect_orders(app, db, did)


def test_report_older_than_an_order_is_not_kept(app, other, db, redis, product, orders_locked):
    warm(other)
    forget(app, redis)
    did = "a process computes the report, then an order comes, then the process goes on"
    with orders_locked():
        slow = Burst(other, [GET_DATA])
        expect(eventually(lambda: at_work(db)), did, "no query for the report", "one")
        os.kill(other.server.process.pid, signal.SIGSTOP)
    try:
        eventually(lambda: not at_work(db))
        expect_order(app, product)
    finally:
        os.kill(other.server.process.pid, signal.SIGCONT)
        slow.answers()
    expect_orders(app, db, did)


def test_invalidation_spares_other_keys(app, redis, product):
    warm(app)
    redis.set("somebody_elses", 1, ex=60)
    redis.config_resetstat()
    expect_order(app, product)
    used = {name.removeprefix("cmdstat_") for name in redis.info("commandstats")}
    did = "one order, then looked at the commands that Redis got"
    wide = used & {"keys", "scan", "flushdb", "flushall"}
    got = ", ".join(sorted(wide)).upper() or "none of KEYS, SCAN, FLUSHDB, FLUSHALL"
    expect(not wide, did, got, f"{KEY} deleted by its name")
    spared = redis.delete("somebody_elses")
    expect(spared, "one order, then looked for another key", "it is gone", "it is still there")


def test_error_is_not_kept(app, db, redis, orders_locked):
    forget(app, redis)
    known = set(redis.keys())
    did = "PostgreSQL ended the query of GET /data"
    with orders_locked():
        request = Burst(app, [GET_DATA])
        eventually(lambda: at_work(db))
        for pid in at_work(db):
            db.query("SELECT pg_terminate_backend(%s)", pid)
        request.over(20)
        answer = request.answers()[0]
    expect(answer and answer.status == 503, did, answer or "no answer", "503", hint="status")
    left = [
        f"{key.decode(errors='replace')[:40]}, for {redis.pttl(key) / 1000:.1f} s"
        for key in sorted(set(redis.keys()) - known)
    ]
    got = f"in Redis there is still {', '.join(left)}"
    expect(not left, did, got, "nothing that makes the next request wait", hint="lock")
    answer = app.get("/data")
    expect(answer.status == 200, f"{did}, then GET /data again", answer, "200")
    expect_report(app.get("/data"), db, f"{did}, then GET /data twice")


def test_rubbish_is_replaced(app, db, redis):
    def replaced(name, value):
        forget(app, redis)
        if isinstance(value, list):
            redis.lpush(KEY, *value)
        else:
            redis.set(KEY, value, ex=60)
        did = f"put rubbish under {KEY} ({name}), GET /data"
        try:
            expect_report(app.get("/data"), db, did)
            answer = app.get("/data")
            expect_report(answer, db, f"{did} twice")
            expect(x_cache(answer) == "HIT", f"{did} twice", f"X-Cache: {x_cache(answer)}", "HIT")
        except CheckFailed:
            redis.delete(KEY)
            raise

    expect_each(rubbish(), replaced)


def test_redis_stopped_is_not_missed(app, db, redis, product, services):
    fresh(app, redis)
    services.valkey.stop()
    try:
        orders_and_reports(app, db, product, "Redis is stopped")
    finally:
        services.valkey.start()
    expect_report(warm(app, "started Redis again, "), db, "started Redis again, GET /data")


def test_outage_serves_nothing_old(app, other, db, redis, product, services):
    did = "Redis is stopped, an order at another process, GET /data"
    fresh(app, redis)
    services.valkey.stop()
    try:
        app.get("/data")
        expect_order(other, product, "Redis is stopped; ")
        expect_orders(app, db, did)
    finally:
        services.valkey.start()
    warm(app, "started Redis again, ")


HANG = 4.5  # seconds: less than the 5 s for which redis-py waits of itself


def test_hung_redis_is_not_waited_for(app, db, redis, product, services):
    fresh(app, redis)
    did = f"Redis hangs (SIGSTOP) for {HANG} s"
    pid = services.valkey.pid()
    awake = threading.Timer(HANG, os.kill, (pid, signal.SIGCONT))
    with hung([pid]):
        awake.start()
        try:
            orders_and_reports(app, db, product, did)
        finally:  # late answers are the reason for whatever else is wrong then
            got = "the answers came once it was awake"
            expect(awake.is_alive(), did, got, "four answers while it hangs")
            awake.cancel()
    did = "Redis hung, an order came, Redis goes on, "
    expect_report(warm(app, did), db, f"{did}GET /data", hint="missed_order")


def test_hung_redis_is_left_alone(launch, db, product):
    with deaf_server() as (port, connections):
        app = launch(fresh=True, REDIS_URL=f"redis://127.0.0.1:{port}/0")
        silent = "REDIS_URL is a server that never says a word"
        expect_report(app.get("/data"), db, f"{silent}; GET /data")
        did = f"{silent}; GET /data, then 20 orders"
        asked = 0
        tries = len(connections)
        got = f"{tries} connections to it, one after another"
        expected = "1, and 1 more for a retry"
        expect(tries <= 3, f"{silent}; GET /data", got, expected, hint="retries")
        for _ in range(20):
            before = len(connections)
            expect_order(app, product)
            asked += len(connections) > before
    expect(connections, did, "the app never connected to it", "a connection or two")
    expect(asked < 10, did, f"{asked} of the orders asked Redis", "hardly any, after the first")


def test_full_redis_is_not_missed(app, db, redis, product):
    fresh(app, redis)
    usual = redis.config_get("maxmemory*")
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)
    try:
        orders_and_reports(app, db, product, "Redis is full (maxmemory 1, noeviction)")
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            redis.config_set(name, usual[name])
    did = "Redis was full, has room again, "
    expect_report(warm(app, did), db, f"{did}GET /data")


def test_order_is_seen_by_another_process(app, other, db, redis, product):
    for here, there in ((app, other), (other, app)) * 2:
        fresh(here, redis)
        warm(there)
        expect_order(here, product)
        expect_orders(
            there, db, "GET /data at two processes, an order at one, GET /data at the other"
        )


def test_order_during_a_report_is_seen(launch, app, db, redis, product, services):
    did = "GET /data, whose result PostgreSQL sends late, an order meanwhile, GET /data again"
    with proxied(services) as (proxy, url):
        proxy.hold_reports_back(0.6)
        slow = launch(fresh=True, DATABASE_URL=url)
        forget(app, redis)
        before = db.calls(REPORT)
        first = Burst(slow, [GET_DATA])
        expect(eventually(lambda: db.calls(REPORT) > before), did, "no query for it", "one")
        expect_order(slow, product)
        expect_orders(slow, db, did)
        first.answers()


def test_orders_do_not_starve_reports(launch, app, redis, product, services):
    delay = 0.4
    did = f"20 × GET /data, each {delay} s late from PostgreSQL, while one order follows the other"
    over = threading.Event()

    def order_on():
        while not over.is_set():
            app.order(product["id"], 1)

    with proxied(services) as (proxy, url):
        proxy.hold_reports_back(delay)
        slow = launch(fresh=True, DATABASE_URL=url)
        forget(app, redis)
        # Several buyers, so that on a busy machine too an order comes during each report.
        buyers = [threading.Thread(target=order_on) for _ in range(3)]
        for buyer in buyers:
            buyer.start()
        try:
            answers, seconds = slow.together([GET_DATA] * 20)
        finally:
            over.set()
            for buyer in buyers:
                buyer.join()
    expect(counts(answers) == "20 × 200", did, counts(answers), "20 × 200")
    got = f"the last answer took as long as {seconds / delay:.0f} reports"
    expect(
        seconds < 12 * delay,
        did,
        got,
        "less than 12; 2 are enough: the one in progress, and another",
    )


def test_hit_is_cheap(app, db, redis):
    warm(app)
    did = "20 × GET /data, all of them hits"
    before = statements(db), command_count(redis), redis.info("stats")["total_connections_received"]
    answers = [app.get("/data") for _ in range(20)]
    after = statements(db), command_count(redis), redis.info("stats")["total_connections_received"]
    queries, commands, connections = (b - a for a, b in zip(before, after, strict=True))
    states = {x_cache(answer) for answer in answers}
    expect(states == {"HIT"}, did, f"X-Cache: {', '.join(sorted(states))}", "20 × HIT")
    expect(queries == 0, did, f"{queries} statements in PostgreSQL", "none", hint="queries")
    got = f"{connections} new connections to Redis"
    expect(connections <= 2, did, got, "none", hint="connections")
    got = f"{commands / 20:.0f} commands in Redis for each hit"
    expect(commands <= 20 * 12, did, got, "one or two; a dozen at the most")


def test_strangers_add_no_keys(app, db, redis):
    warm(app)
    known = redis.dbsize()
    did = "GET /data?x=0, /data?x=1, … /data?x=19"
    answers, made = counted(db, lambda: [app.get(f"/data?x={x}") for x in range(20)])
    expect(counts(answers) == "20 × 200", did, counts(answers), "20 × 200")
    more = redis.dbsize() - known
    expect(more <= 1, did, f"{more} more keys in Redis", "none: the report is the same")
    expect(
        made <= 1, did, f"{amount(made, 'query', 'queries')} for the report", "none: it is cached"
    )


def test_expiry_comes_with_the_value(app, redis):
    forget(app, redis)
    with watched(redis) as seen:
        app.get("/data")
    expect_expiry_with_value(seen, "GET /data, a miss")


def test_lease_of_another_is_left_alone(launch, app, db, redis, product, services):
    did = (
        "a process computes the report, an order comes, another process computes a new one, "
        "the first is done and asked again"
    )
    with proxied(services) as (proxy, url):
        proxy.hold_reports_back(0.6)
        first, second = (launch(fresh=True, DATABASE_URL=url) for _ in range(2))
        forget(app, redis)
        before = db.calls(REPORT)
        old = Burst(first, [GET_DATA])
        expect(eventually(lambda: db.calls(REPORT) > before), did, "no query for it", "one")
        expect_order(app, product)
        new = Burst(second, [GET_DATA])
        old.answers()
        first.get("/data")
        new.answers()
        made = db.calls(REPORT) - before
    got = f"{amount(made, 'query', 'queries')} for the report"
    expect(made <= 2, did, got, "2: the third request waits for the second process")


def statements(db) -> int:
    """How many statements of any kind PostgreSQL has run for the app."""
    return db.value(
        "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements"
        " JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = 'workshop'"
    )


def orders_and_reports(app, db, product, trouble: str):
    """A report, an order, two reports: all right and none a stale one."""
    expect_report(app.get("/data"), db, f"{trouble}; GET /data")
    expect_order(app, product, f"{trouble}; ")
    for _ in range(2):
        answer = app.get("/data")
        did = f"{trouble}; an order, GET /data"
        expect_report(answer, db, did)
        expect(x_cache(answer) != "HIT", did, "X-Cache: HIT", "BYPASS: it is not from Redis")


@pytest.fixture
def other(launch):
    """A second process of the app: the one that the checks of step 2 have started already."""
    return launch(SUPPLIER_DELAY=SUPPLIER, POOL_TIMEOUT=20)


def stampede(apps, did, db, redis, orders_locked, almost: str = ""):
    """`almost` names the hint for two queries instead of one."""
    for app in apps:
        forget(app, redis)

    def burst():
        with orders_locked():
            bursts = [Burst(app, [GET_DATA] * (100 // len(apps))) for app in apps]
            eventually(lambda: at_work(db))
            eventually(lambda: len(at_work(db)) > 1, 0.5)  # the report takes as long as this
        return [answer for burst in bursts for answer in burst.answers()]

    answers, made = counted(db, burst)
    expect(counts(answers) == "100 × 200", did, counts(answers), "100 × 200")
    expect(
        made == 1,
        did,
        f"{amount(made, 'query', 'queries')} for the report",
        "1; the others wait for its answer",
        hint=almost if made == 2 else "",
    )
    misses = sum(x_cache(answer) == "MISS" for answer in answers)
    expect(misses == 1, did, f"{misses} × X-Cache: MISS", "1 × MISS, 99 × HIT", hint="misses")
