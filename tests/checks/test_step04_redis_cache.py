"""Step 4: the report is computed once, is never older than an order, and needs no Redis."""

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from activity import hung, queued
from blackbox import SUPPLIER, CheckFailed, Request, amount, counts, eventually, expect
from bursts import Burst, order_request
from commands import command_count, expect_expiry_with_value, watched
from locks import held_order, table_locked
from postgres_proxy import proxied
from redis_proxy import RedisProxy, redis_url
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
    strangers,
    warm,
    x_cache,
)
from tables import expect_each
from usage import open_files, threads

GET_DATA = Request("GET", "/data")
LONG = 600  # seconds, for CACHE_TTL, whose default is 60


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
    did = f"TYPE {KEY} in the database that REDIS_URL names, which isn't 0"
    expect(kind == "string", did, kind, "string", hint="database")
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
    app = launch(CACHE_TTL=1)
    did = "CACHE_TTL is 1 s; GET /data again and again"
    forget(app, redis)
    kept = eventually(lambda: same_report(app))
    got = "each answer has its own generated_at"
    expect(kept, did, got, "the same for 1 s", hint="not_cached")
    renewed = eventually(lambda: app.get("/data").json()["generated_at"] != kept, every=0.05)
    expect(renewed, did, "the same report after 10 s", "a new one")


def test_max_age_is_what_is_left(launch, behind, redis):
    app = launch(CACHE_TTL=2)
    did = "CACHE_TTL is 2 s; GET /data until most of them have passed"
    forget(app, redis)
    left, deadline = 2.0, time.monotonic() + 10
    while left > 0.6 and time.monotonic() < deadline:
        asked = datetime.now(UTC)
        answer = app.get("/data")
        promised, generated_at = max_age(answer, did), answer.json()["generated_at"]
        left = 2 - (asked - datetime.fromisoformat(generated_at)).total_seconds()
        got = f"max-age={promised} when {left:.1f} s were left of the 2 s"
        expect(promised < left + 1.1, did, got, "the seconds that are left, rounded up")
        time.sleep(0.1)
    forget(behind, redis)
    did = f"CACHE_TTL is {LONG} s; GET /data, a miss and a hit, then TTL {KEY}"
    seconds = [max_age(behind.get("/data"), did) for _ in range(2)] + [redis.ttl(KEY)]
    got = f"max-age={seconds[0]}, max-age={seconds[1]}, {seconds[2]} s"
    expect(
        all(60 < s <= LONG for s in seconds), did, got, f"{LONG} s, or a little less", hint="long"
    )
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    dated = {"report": [], "generated_at": tomorrow.isoformat()}
    redis.set(KEY, json.dumps(dated), ex=LONG)
    did = f"put a report of tomorrow under {KEY}, as a host whose clock is wrong would, GET /data"
    answer = behind.get("/data")
    if answer.status == 200:  # Whether it is replaced is another check's matter.
        promised = max_age(answer, did)
        expected = f"{LONG}, CACHE_TTL, at the most"
        expect(promised <= LONG, did, f"max-age={promised}", expected, hint="clock")


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
        commands = command_count(redis)
        answers = [app.get("/data") for _ in range(2)]
        often = (command_count(redis) - commands) / sum(answer.seconds for answer in answers)
        expect(counts(answers) == "2 × 200", did, counts(answers), "2 × 200")
        got = ", ".join(f"X-Cache: {x_cache(a)} after {a.seconds:.1f} s" for a in answers)
        expected = "HIT for the second: the first waits until the dead process's right to compute"
        expected += " has expired, computes, and stores"
        expect(x_cache(answers[1]) == "HIT", did, got, expected, hint="not_taken_over")
        got = f"{often:.0f} commands to Redis in each second of the wait"
        expect(
            often < 1000,
            did,
            got,
            "a pause between two looks: some hundred at the most",
            hint="pause",
        )
    finally:
        os.kill(other.server.process.pid, signal.SIGCONT)
        dead.answers()


def test_order_is_seen_at_once(app, db, redis, product):
    for _ in range(3):
        fresh(app, redis)
        expect_order(app, product)
        expect_orders(app, db, "GET /data, one order, GET /data")


def test_unanswered_order_is_seen(behind, postgres_proxy, db, redis, product):
    did = "GET /data, an order whose COMMIT gets no answer, GET /data"
    before = db.value("SELECT count(*) FROM orders")
    fresh(behind, redis)
    postgres_proxy.break_before(lambda data: db.value("SELECT count(*) FROM orders") > before)
    behind.order(product["id"], 1)
    expect_orders(behind, db, did)


def test_order_in_flight_is_not_missed(app, db, redis, product, services):
    fresh(app, redis)
    did = "GET /data while an order waits in PostgreSQL, then let it commit, then GET /data"
    with held_order(app, db, product, services) as order:
        app.get("/data")
    answer = order()
    expect(answer and answer.status == 201, did, answer or "no answer", "201 for the order")
    expect_orders(app, db, did)


def test_report_older_than_an_order_is_not_kept(
    app, other, behind, redis_proxy, db, redis, product, orders_locked
):
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
    did = "held back the command with which a process stores a report, an order at another one"
    forget(behind, redis)
    with redis_proxy.hold_back(b"generated_at") as sent:
        late = Burst(behind, [GET_DATA])
        expect(sent.wait(10), did, "no command with a report in it", "one")
        expect_order(app, product)
    late.answers()
    expect_orders(app, db, f"{did}, let the command go, GET /data", hint="atomic")


def test_invalidation_spares_other_keys(app, db, redis, product):
    warm(app)
    redis.set("somebody_elses", 1, ex=60)
    redis.config_resetstat()
    expect_order(app, product)
    used = {name.removeprefix("cmdstat_") for name in redis.info("commandstats")}
    did = "one order, then looked at the commands that Redis got"
    wide = used & {"keys", "scan", "flushdb", "flushall"}
    got = ", ".join(sorted(wide)).upper() or "none of KEYS, SCAN, FLUSHDB, FLUSHALL"
    expect(not wide, did, got, f"{KEY} deleted by its name")
    before = costs(app, db, redis)
    _, made = counted(db, lambda: [expect_order(app, product) for _ in range(5)])
    did = "5 orders"
    commands, connections = (
        after - b for after, b in list(zip(costs(app, db, redis), before, strict=True))[1:3]
    )
    got = f"{amount(made, 'query', 'queries')} for the report"
    expect(made == 0, did, got, "none: who asks for a report has it computed", hint="cost")
    got = f"{commands / 5:.0f} commands and {connections / 5:.1f} connections to Redis for each"
    expect(
        commands <= 5 * 12 and connections <= 2,
        did,
        got,
        "one or two commands, no connection",
        hint="cost",
    )
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
    promised = answer.headers.get("Cache-Control", "")
    kept = "max-age" in promised.replace("max-age=0", "")
    expect(
        not kept,
        did,
        f"503 with Cache-Control: {promised}",
        "an error that no cache keeps",
        hint="max_age",
    )
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
        password = services.valkey.password
        said = [line for line in app.server.output().splitlines() if password in line]
        got = f"{amount(len(said), 'line')} of output with the password of REDIS_URL"
        expect(not said, "Redis is stopped, GET /data", got, "none", hint="password")
    finally:
        services.valkey.start()
    warm(app, "started Redis again, ")


HANG = 4.5  # seconds: less than the 5 s for which redis-py waits of itself


def test_hung_redis_is_not_waited_for(app, behind, redis_proxy, db, redis, product, services):
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
    did = "cut a process off from Redis, which went on; an order at it, GET /data"
    fresh(behind, redis)
    with redis_proxy.cut():
        expect_order(behind, product, "cut off from Redis; ")
        expect_orders(behind, db, did)
    did += ", let it reach Redis again"
    for asked in (behind, app):
        warm(asked, f"{did}; ")
        expect_orders(asked, db, f"{did}, GET /data", hint="cut")


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
        for _ in range(3):  # Until it asks again: an app may leave Redis alone for some seconds.
            time.sleep(1.1)
            before = len(connections)
            app.together([order_request(app, product)] * 10)
            if tries := len(connections) - before:
                break
    expect(connections, did, "the app never connected to it", "a connection or two")
    expect(asked < 10, did, f"{asked} of the orders asked Redis", "hardly any, after the first")
    did = f"{silent}; after a moment 10 orders at once"
    got = f"{tries} new connections to it"
    expect(tries <= 4, did, got, "1, and 1 more for a retry", hint="half_open")


def test_full_redis_is_not_missed(app, db, redis, product, services):
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
    password = services.valkey.password
    redis.config_set("requirepass", "changed")
    redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    try:
        did = "Redis has another password, GET /data"
        expect_report(app.get("/data"), db, did)
    finally:
        redis.config_set("requirepass", password)
    warm(app, "Redis has the password again, ")
    said = [line for line in app.server.output().splitlines() if password in line]
    got = f"{amount(len(said), 'line')} of output with the password of REDIS_URL"
    expect(not said, did, got, "none", hint="password")


def test_order_is_seen_by_another_process(app, other, db, redis, product):
    for here, there in ((app, other), (other, app)) * 2:
        fresh(here, redis)
        warm(there)
        expect_order(here, product)
        expect_orders(
            there, db, "GET /data at two processes, an order at one, GET /data at the other"
        )


def test_order_during_a_report_is_seen(behind, postgres_proxy, db, redis, product):
    did = "GET /data, whose result PostgreSQL sends late, an order meanwhile, GET /data again"
    forget(behind, redis)
    before = db.calls(REPORT)
    postgres_proxy.hold_reports_back(0.5)
    first = Burst(behind, [GET_DATA])
    expect(eventually(lambda: db.calls(REPORT) > before), did, "no query for it", "one")
    expect_order(behind, product)
    expect_orders(behind, db, did)
    first.answers()


def test_orders_do_not_starve_reports(app, behind, db, postgres_proxy, redis, product):
    delay = 0.4
    # Orders that find nothing left would invalidate nothing.
    db.query("UPDATE products SET stock = 1000000 WHERE id = %s", product["id"])
    did = f"20 × GET /data, each {delay} s late from PostgreSQL, while one order follows the other"
    over = threading.Event()

    def order_on():
        while not over.is_set():
            app.order(product["id"], 1)

    forget(behind, redis)
    postgres_proxy.hold_reports_back(delay)
    # Several buyers, so that on a busy machine too an order comes during each report.
    buyers = [threading.Thread(target=order_on) for _ in range(6)]
    for buyer in buyers:
        buyer.start()
    try:
        answers, seconds = behind.together([GET_DATA] * 20)
    finally:
        over.set()
        for buyer in buyers:
            buyer.join()
    expect(counts(answers) == "20 × 200", did, counts(answers), "20 × 200")
    got = f"the last answer took as long as {seconds / delay:.0f} reports"
    expect(
        seconds < 8 * delay,
        did,
        got,
        "less than 8; 2 are enough: the one in progress, and another",
    )


def test_hit_is_cheap(app, db, redis, services):
    warm(app)
    did = "20 × GET /data, all of them hits"
    before = costs(app, db, redis)
    answers = [app.get("/data") for _ in range(20)]
    queries, commands, connections, files, more_threads = (
        after - b for after, b in zip(costs(app, db, redis), before, strict=True)
    )
    states = {x_cache(answer) for answer in answers}
    expect(states == {"HIT"}, did, f"X-Cache: {', '.join(sorted(states))}", "20 × HIT")
    expect(queries == 0, did, f"{queries} statements in PostgreSQL", "none", hint="queries")
    got = f"{connections} new connections to Redis"
    expect(connections <= 2, did, got, "none", hint="connections")
    got = f"{commands / 20:.0f} commands in Redis for each hit"
    expect(commands <= 20 * 12, did, got, "one or two; a dozen at the most")
    got = f"{files} more open files, {more_threads} more threads"
    expect(max(files, more_threads) < 10, did, got, "none that stays", hint="kept_open")
    did = "15 × GET /products/7 hold all connections to PostgreSQL, GET /data, which Redis has"
    with table_locked(services, "products"):
        readers = Burst(app, [Request("GET", "/products/7")] * 15)
        held = eventually(lambda: len(queued(app, db)) >= 15)
        answer = app.get("/data")
    readers.answers()
    expect(held, did, "not all connections are in use", "15 requests that wait")
    told = f"{answer.status}, X-Cache: {x_cache(answer)}"
    expect(
        answer.status == 200 and x_cache(answer) == "HIT", did, told, "200, HIT", hint="full_pool"
    )


def test_strangers_add_no_keys(app, db, redis, product):
    cases = strangers(app, product)  # It may order something, which deletes the report.
    warm(app)
    known = redis.dbsize()

    def costs_nothing(name, send):
        kept = warm(app).body
        answer, made = counted(db, send)
        expect(answer.status < 500, name, answer, "an answer")
        got = f"{amount(made, 'query', 'queries')} for the report"
        expect(made == 0, name, got, "none: it is cached")
        again = app.get("/data")
        got = f"X-Cache: {x_cache(again)}, {differing(kept, again.body)}"
        same = x_cache(again) == "HIT" and again.body == kept
        expect(same, f"{name}, then GET /data", got, "HIT, the report as it was")

    try:
        expect_each(cases, costs_nothing)
    finally:
        warm(app)
    for seconds in (1, 100_000):
        redis.delete(KEY)
        wishes = dict.fromkeys(("ttl", "max_age", "expires", "timeout", "cache_ttl"), seconds)
        headers = {"Cache-Control": f"max-age={seconds}", "X-Cache-TTL": f"{seconds}"}
        app.get("/data", params=wishes, headers=headers)
        ttl, did = redis.ttl(KEY), f"GET /data?ttl={seconds} and the like, nothing cached"
        expect(
            ttl <= 60 and ttl not in (0, 1),
            did,
            f"TTL {KEY}: {ttl}",
            "60, CACHE_TTL's default",
            hint="wishes",
        )
        answer = warm(app)
        promised = max_age(answer, did)
        expect(
            2 < promised <= 60,
            did,
            f"then max-age={promised}",
            "60 or a little less",
            hint="wishes",
        )
    more = redis.dbsize() - known
    did = "asked for the report in many ways"
    expect(more <= 1, did, f"{more} more keys in Redis", "none: the report is the same")


def test_expiry_comes_with_the_value(app, redis, product):
    forget(app, redis)
    with watched(redis) as seen:
        app.get("/data")
    expect_expiry_with_value(seen, "GET /data, a miss")
    expect_order(app, product)
    warm(app)
    others = [key for key in redis.scan_iter() if key != KEY.encode()]
    endless = [key.decode(errors="replace") for key in others if redis.ttl(key) == -1]
    did = "GET /data, an order, GET /data, then looked at all other keys"
    expect(not endless, did, f"no expiry on {', '.join(endless)}", "an expiry on each")


def test_lease_of_another_is_left_alone(
    launch, app, other, behind, postgres_proxy, db, redis, product, orders_locked
):
    did = (
        "a process computes the report, an order comes, another process computes a new one, "
        "the first is done and asked again"
    )
    second = launch(DATABASE_URL=postgres_proxy.url)
    forget(behind, redis)
    before = db.calls(REPORT)
    postgres_proxy.hold_reports_back(0.4)
    old = Burst(behind, [GET_DATA])
    expect(eventually(lambda: db.calls(REPORT) > before), did, "no query for it", "one")
    expect_order(app, product)
    new = Burst(second, [GET_DATA])
    old.answers()
    behind.get("/data")
    new.answers()
    made = db.calls(REPORT) - before
    got = f"{amount(made, 'query', 'queries')} for the report"
    expect(made <= 2, did, got, "2: the third request waits for the second process")

    did = "a process computes the report, its right to it expires, another process computes it too"
    warm(other)
    forget(app, redis)
    known = set(redis.keys())
    with orders_locked():
        old = Burst(other, [GET_DATA])
        failing = eventually(lambda: at_work(db))
        expect(failing, did, "no query for the report", "one")
        for key in set(redis.keys()) - known:
            redis.delete(key)
        new = Burst(app, [GET_DATA])
        both = eventually(lambda: len(at_work(db)) == 2)
        expect(both, did, "no second query for it", "one: the right is nobody's now")
        db.query("SELECT pg_terminate_backend(%s)", failing[0])
        old.answers()
        third = expect_no_other(other, db, f"{did}, the first fails and is asked again")
    new.answers()
    third.answers()


def expect_no_other(app, db, did):
    """The process waits for the one query that runs already; gives its burst."""
    burst = Burst(app, [GET_DATA])
    other = eventually(lambda: len(at_work(db)) > 1, 0.3)
    expect(not other, did, "2 queries for the report at once", "1: it waits for the second process")
    return burst


def costs(app, db, redis) -> tuple[int, ...]:
    """Statements of PostgreSQL, commands and connections of Redis, open files, threads; so far."""
    connections = redis.info("stats")["total_connections_received"]
    return statements(db), command_count(redis), connections, open_files(app), threads(app)


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
    return launch(SUPPLIER_DELAY=SUPPLIER)


@pytest.fixture(scope="session")
def redis_proxy(services):
    proxy = RedisProxy(("127.0.0.1", services.valkey.port))
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def kept_postgres_proxy(services):
    with proxied(services) as (proxy, _):
        yield proxy


@pytest.fixture
def postgres_proxy(kept_postgres_proxy):
    yield kept_postgres_proxy
    kept_postgres_proxy.hold_reports_back(0)


@pytest.fixture
def behind(launch, services, redis_proxy, postgres_proxy):
    """A process that reaches Redis and PostgreSQL through the proxies, and keeps a report long."""
    redis = redis_url(services, redis_proxy.port)
    return launch(REDIS_URL=redis, DATABASE_URL=postgres_proxy.url, CACHE_TTL=LONG)


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
