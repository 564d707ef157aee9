"""Each technique's own comparison, on the requests that it is for."""

import random
import statistics
from typing import Any

from workshop.bench.journey import LOGIN, WAIT, errors, side
from workshop.bench.plan import Plan
from workshop.bench.testbed import GUNICORN, QUART, THREADED, Load, TestBed, step_target
from workshop.compare import Comparison
from workshop.limits import bare_query_limit, concurrency_limit
from workshop.load import Request
from workshop.measuring.result import Result
from workshop.target import Target

LOOKUP = [Request(path="/products/{id}", ids=(1, 5000))]
LOOKUP_SQL = "SELECT id, name, category, price_cents, stock FROM products WHERE id = 7"
CONTROL_WIDTH = 0.10  # the control's interval reaches no further than this from its ratio


def pair(comparison: Comparison, connections: int) -> dict[str, Any]:
    """Two sides, each alone, and the ratio of the second to the first."""
    return {
        "connections": connections,
        "sides": [side(comparison, label) for label in comparison.values],
        "ratio": vars(comparison.ratios()[0]),
        "warnings": comparison.warnings(),
    }


async def control(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """A step against itself: what differs here is chance.

    More rounds are added until the interval is narrow enough for results to be published, or until
    there are as many as the plan allows.
    """
    load = Load(
        target=step_target(3),
        requests=LOOKUP,
        connections=10,
        seconds=plan.short,
        warmup=plan.warmup,
    )
    sides = {"step 3": load, "step 3 again": load}
    comparison = await test_bed.compare(sides, plan.rounds)
    while not is_quiet(pair(comparison, 10)["ratio"]) and comparison.rounds < plan.control_rounds:
        comparison += await test_bed.compare(sides, plan.rounds)
    return pair(comparison, 10)


def is_quiet(ratio: dict[str, Any]) -> bool:
    """Whether the control's interval is so narrow that other results mean something."""
    reach = max(ratio["high"] / ratio["ratio"], ratio["ratio"] / ratio["low"])
    return reach <= 1 + CONTROL_WIDTH


async def overlap(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """GET /async at more and more connections, with connections / wait as the limit."""
    one_at_a_time = step_target(1)
    targets = [one_at_a_time, THREADED, step_target(2), GUNICORN, QUART]
    cells = [
        (target, n)
        for target in targets
        for n in (plan.sync_connections if target is one_at_a_time else plan.connections)
    ]
    found: dict[tuple[str, int], list[tuple[Result, float]]] = {}
    order = random.Random(1)
    for _ in range(plan.sweep_rounds):
        for target, n in order.sample(cells, len(cells)):
            warmup = plan.warmup + n * plan.opening
            load = Load(
                target=target, path="/async", connections=n, seconds=plan.sweep, warmup=warmup
            )
            waits = target is not one_at_a_time
            measured = await test_bed.run_with_memory(load, settle=waits)
            if not waits:
                test_bed.stop(target)  # a new one is quicker than to wait for all that queue there
            found.setdefault((target.name, n), []).append(measured)
    points = [point(target.name, n, found[target.name, n]) for target, n in cells]
    return {"wait": WAIT, "points": points}


def point(server: str, connections: int, measured: list[tuple[Result, float]]) -> dict[str, Any]:
    """One number of connections: the mean throughput, the rounds, and the share of the limit."""
    results = [result for result, _ in measured]
    values = [result.throughput for result in results]
    limit, mean = concurrency_limit(connections, WAIT), statistics.fmean(values)
    return {
        "server": server,
        "connections": connections,
        "throughput": mean,
        "values": values,
        "limit": limit.per_second,
        "share": limit.share(mean),
        "peak_mib": max(peak_mib for _, peak_mib in measured),
        "errors": errors(results),
        "client_near_limit": any(result.client_near_limit for result in results),
    }


async def nagle(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """GET / on one kept connection, with and without the mistake that leaves Nagle on."""
    common: dict[str, Any] = {"connections": 1, "seconds": plan.short, "warmup": plan.warmup}
    sides = {
        "Nagle on": Load(target=test_bed.mistake(2, "nagle_on"), **common),
        "Nagle off (step 2)": Load(target=step_target(2), **common),
    }
    return pair(await test_bed.compare(sides, plan.few_rounds), 1)


async def pool(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """Lookups with a connection for each request and with a pool; then pools of several sizes."""
    common: dict[str, Any] = {
        "requests": LOOKUP,
        "connections": 10,
        "seconds": plan.short,
        "warmup": plan.warmup,
    }
    sides = {
        "connects for each (step 2)": Load(target=step_target(2), **common),
        "pool of 10 + 5 (step 3)": Load(target=step_target(3), **common),
    }
    found = pair(await test_bed.compare(sides, plan.rounds), 10)
    limit = bare_query_limit(LOOKUP_SQL, test_bed.database, seconds=plan.short)
    found["limit"] = vars(limit) | {"share": limit.share(found["sides"][1]["throughput"])}
    found["sizes"] = await pool_sizes(test_bed, plan)
    return found


async def pool_sizes(test_bed: TestBed, plan: Plan) -> list[dict[str, Any]]:
    """Lookups of 60 clients through pools of 1 to 60 connections, one pool after another:
    all of them together would be more than PostgreSQL takes.
    """
    found: dict[int, list[Result]] = {size: [] for size in plan.sizes}
    order = random.Random(1)
    for _ in range(plan.sweep_rounds):
        for size in order.sample(plan.sizes, len(plan.sizes)):
            target = pool_of(size)
            load = Load(
                target=target,
                requests=LOOKUP,
                connections=60,
                seconds=plan.short,
                warmup=plan.fill,
            )
            found[size].append(await test_bed.run(load))
            test_bed.stop(target)
    return [
        {
            "size": size,
            "throughput": statistics.fmean(values := [r.throughput for r in results]),
            "values": values,
            "errors": errors(results),
        }
        for size, results in found.items()
    ]


def pool_of(size: int) -> Target:
    settings = {**step_target(3).settings, "POOL_SIZE": str(size), "MAX_OVERFLOW": "0"}
    return Target(f"pool of {size}", step_target(3).folder, settings=settings)


async def cache(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """GET /data from PostgreSQL and from Redis; GET / on the second server is the limit."""
    common: dict[str, Any] = {"seconds": plan.short, "warmup": plan.warmup}
    cached = Load(target=step_target(4), path="/data", **common)
    sides = {
        "from PostgreSQL (step 3)": Load(target=step_target(3), path="/data", **common),
        "from Redis (step 4)": cached,
        "GET / (step 4)": Load(target=step_target(4), path="/", **common),
    }
    await test_bed.run(cached)  # from now on the report is in Redis
    comparison = await test_bed.compare(sides, plan.rounds)
    base, hit, empty = sides
    return pair(comparison, cached.connections) | {
        "ratio": vars(comparison.ratio(hit, base)),
        "of_the_limit": vars(comparison.ratio(hit, empty)),
    }


async def token(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """What it costs to verify a token: GET /me against GET /, which does nothing."""
    common: dict[str, Any] = {"login": LOGIN, "seconds": plan.short, "warmup": plan.warmup}
    sides = {
        "GET /, open (step 5)": Load(target=step_target(5), path="/", **common),
        "GET /me, with a token (step 5)": Load(target=step_target(5), path="/me", **common),
    }
    return pair(await test_bed.compare(sides, plan.rounds), 50)
