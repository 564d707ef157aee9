"""Each technique's own comparison, on the requests that it is for."""

import random
import statistics

from workshop.bench.journey import LOGIN, WAIT, errors, side
from workshop.load import Request
from workshop.measuring.limits import bare_query, waiting

LOOKUP = Request(path="/products/{id}", ids=(1, 5000))
LOOKUP_SQL = "SELECT id, name, category, price_cents, stock FROM products WHERE id = 7"
SIZES = (1, 2, 5, 10, 20, 60)
SYNC = "step01_basic"


async def pairs(stand, plan, before: dict, after: dict, **common) -> dict:
    """Two sides in interleaved rounds: each alone, and the ratio of the second to the first."""
    sides = {told.pop("label"): told for told in (before, after)}
    common = {"seconds": plan.short, "warmup": plan.warmup} | common
    comparison = await stand.compare(sides, plan.rounds, **common)
    return {
        "connections": common["connections"],
        "sides": [side(comparison, label) for label in sides],
        "ratio": vars(comparison.ratios()[0]),
        "warnings": comparison.warnings(),
    }


async def overlap(stand, plan) -> dict:
    """GET /async at more and more connections, beside connections / wait."""
    names = (SYNC, "threads", "step02_gevent", "gunicorn", "quart")
    found: dict[tuple, list] = {}
    order = random.Random(1)
    for _ in range(plan.sweep_rounds):
        cells = [(name, n) for name in names for n in plan.connections]
        for name, n in order.sample(cells, len(cells)):
            if name == SYNC and n not in plan.sync_connections:
                continue
            warmup = plan.warmup + n * plan.opening
            run = {"connections": n, "seconds": plan.sweep, "warmup": warmup}
            result = await stand.run(name, "/async", **run, rest=name != SYNC)
            if name == SYNC:
                stand.end(name)  # a new one is quicker than to wait for all that queue there
            found.setdefault((name, n), []).append(result)
    points = [
        {"server": name, **point(n, found[name, n])}
        for name in names
        for n in plan.connections
        if (name, n) in found
    ]
    return {"wait": WAIT, "points": points}


def point(connections: int, results: list) -> dict:
    """One number of connections: the mean throughput, the rounds, and the share of the limit."""
    values = [result.throughput for result in results]
    limit, mean = waiting(connections, WAIT), statistics.fmean(values)
    return {
        "connections": connections,
        "throughput": mean,
        "values": values,
        "limit": limit.per_second,
        "share": limit.share(mean),
        "peak_mib": max(result.peak_mib for result in results),
        "errors": errors(results),
        "client_near_limit": any(result.client_near_limit for result in results),
    }


async def nagle(stand, plan) -> dict:
    """GET / on one kept connection, with and without the mistake that leaves Nagle on."""
    return await pairs(
        stand,
        plan,
        {"label": "Nagle on", "name": "nagle_on"},
        {"label": "Nagle off (step 2)", "name": "step02_gevent"},
        connections=1,
    )


async def pool(stand, plan) -> dict:
    """Lookups with a connection for each request and with a pool; then pools of several sizes."""
    found = await pairs(
        stand,
        plan,
        {"label": "connects for each (step 2)", "name": "step02_gevent"},
        {"label": "pool of 10 + 5 (step 3)", "name": "step03_pooling"},
        requests=[LOOKUP],
        connections=10,
    )
    limit = bare_query(LOOKUP_SQL, stand.services.environment()["DATABASE_URL"], seconds=plan.short)
    found["limit"] = vars(limit) | {"share": limit.share(found["sides"][1]["throughput"])}
    found["sizes"] = await pool_sizes(stand, plan)
    return found


async def pool_sizes(stand, plan) -> list[dict]:
    """Lookups of 60 clients through pools of 1 to 60 connections, one pool after another:
    all of them together would be more than PostgreSQL takes.
    """
    found: dict[int, list] = {size: [] for size in plan.sizes}
    order = random.Random(1)
    for _ in range(plan.sweep_rounds):
        for size in order.sample(plan.sizes, len(plan.sizes)):
            name = f"step03_pooling POOL_SIZE={size} MAX_OVERFLOW=0"
            run = {"connections": 60, "seconds": plan.short, "warmup": plan.fill}
            found[size].append(await stand.run(name, requests=[LOOKUP], **run))
            stand.end(name)
    return [
        {
            "size": size,
            "throughput": statistics.fmean(values := [r.throughput for r in results]),
            "values": values,
            "errors": errors(results),
        }
        for size, results in found.items()
    ]


async def cache(stand, plan) -> dict:
    """GET /data from PostgreSQL and from Redis, beside GET / on the second server."""
    sides = {
        "from PostgreSQL (step 3)": {"name": "step03_pooling", "path": "/data"},
        "from Redis (step 4)": {"name": "step04_redis_cache", "path": "/data"},
        "GET / (step 4)": {"name": "step04_redis_cache", "path": "/"},
    }
    await stand.run("step04_redis_cache", "/data", connections=1, seconds=plan.short)  # warm
    run = {"connections": 50, "seconds": plan.short, "warmup": plan.warmup}
    comparison = await stand.compare(sides, plan.rounds, **run)
    base, cached, empty = sides
    return {
        "connections": 50,
        "sides": [side(comparison, label) for label in sides],
        "ratio": vars(comparison.ratio(cached, base)),
        "of_the_limit": vars(comparison.ratio(cached, empty)),
        "warnings": comparison.warnings(),
    }


async def token(stand, plan) -> dict:
    """What it costs to verify a token: GET /me against GET /, which does nothing."""
    return await pairs(
        stand,
        plan,
        {"label": "GET /, open (step 5)", "name": "step05_jwt", "path": "/"},
        {"label": "GET /me, with a token (step 5)", "name": "step05_jwt", "path": "/me"},
        connections=50,
        login=LOGIN,
    )


async def control(stand, plan) -> dict:
    """A step against itself: what differs here is chance."""
    return await pairs(
        stand,
        plan,
        {"label": "step 3", "name": "step03_pooling"},
        {"label": "step 3 again", "name": "step03_pooling"},
        requests=[LOOKUP],
        connections=10,
    )
