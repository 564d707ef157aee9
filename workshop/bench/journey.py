"""The journey: the same mix of requests on all five steps, and what it could be at best.

The mix is a shop's: most requests look at a product, some ask a supplier (and wait 0.1 s), one in
ten reads the sales report, one in a hundred is an order. So every technique has something to
remove, and an order now and then drops the cached report, as it would in a shop.
"""

import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workshop.bench.plan import Plan
from workshop.bench.testbed import Load, TestBed, step_target
from workshop.compare import Comparison
from workshop.limits import Limit, bare_query_limit
from workshop.load import Login, Request
from workshop.measuring.machine import cores
from workshop.measuring.result import Result, sum_errors
from workshop.measuring.student_t import confidence_interval
from workshop.steps import Step, steps

CONNECTIONS = 50
WAIT = 0.1  # seconds, SUPPLIER_DELAY
WAITING = ("GET /quote/{id}", "GET /async")
MIX = [
    Request(path="/products/{id}", ids=(1, 5000), weight=64),
    Request(path="/quote/{id}", ids=(1, 5000), weight=15),
    Request(path="/async", weight=10),
    Request(path="/data", weight=10),
    Request("POST", "/orders", json={"product_id": "{id}", "quantity": 1}, ids=(1, 5000), weight=1),
]
LOGIN = Login({"username": "alice", "password": "wonderland"})
REPORT = """
    SELECT category, count(*), sum(total_cents) FROM orders
    JOIN products ON product_id = products.id GROUP BY category ORDER BY category
"""


def share(*names: str) -> float:
    """Of the requests of the mix, those with these names."""
    return sum(r.weight for r in MIX if r.name in names) / sum(r.weight for r in MIX)


def reports_limit(dsn: str, seconds: float) -> Limit:
    """How many reports/s PostgreSQL gives, asked through libpq on a connection for each core."""
    with ThreadPoolExecutor(cores()) as threads:
        limits = [
            threads.submit(bare_query_limit, REPORT, dsn, seconds=seconds) for _ in range(cores())
        ]
        per_second = sum(limit.result().per_second for limit in limits)
    return Limit("the bare report through libpq, a connection for each core", per_second)


def nearest_limit(step: Step, reports_per_second: float) -> Limit:
    """The lowest of the limits of the mix on this step.

    A server that takes one request at a time waits for each wait; 50 connections share the waits.
    Until it is cached, each report costs PostgreSQL a query.
    """
    at_once = CONNECTIONS if step.is_concurrent else 1
    mean = WAIT * share(*WAITING)
    limits = [Limit(f"{at_once} at once / {mean * 1000:g} ms of waiting (mean)", at_once / mean)]
    if not step.has_cache:
        per_second = reports_per_second / share("GET /data")
        limits.append(Limit("the reports that PostgreSQL can make", per_second))
    return min(limits, key=lambda limit: limit.per_second)


def mix_load(step: Step, **options: Any) -> Load:
    """The mix on a step, as a logged-in user where the step knows users."""
    login = LOGIN if step.has_login else None
    return Load(target=step_target(step.number), requests=MIX, login=login, **options)


async def measure(test_bed: TestBed, plan: Plan) -> dict[str, Any]:
    """Throughput in interleaved rounds, then latency at a rate that steps 2 to 5 can carry."""
    reports = reports_limit(test_bed.database, plan.short)
    sides = {
        s.folder: mix_load(
            s,
            connections=CONNECTIONS,
            seconds=plan.journey if s.is_concurrent else plan.slow,
            warmup=plan.warmup,
        )
        for s in steps()
    }
    comparison = await test_bed.compare(sides, plan.journey_rounds)
    rate = offered_rate(comparison)
    entries = []
    for s in steps():
        measured = entry(comparison, s, nearest_limit(s, reports.per_second))
        latency = await measure_latency(test_bed, s, rate, plan, measured["throughput"])
        entries.append(measured | latency)
    return {
        "connections": CONNECTIONS,
        "wait": WAIT,
        "mix": [{"request": r.name, "weight": r.weight} for r in MIX],
        "reports_per_second": reports.per_second,
        "rate": rate,
        "steps": entries,
        "warnings": comparison.warnings(),
    }


def offered_rate(comparison: Comparison) -> int:
    """Half of what step 2 serves, in whole tens: all later steps carry it with room to spare."""
    second = list(comparison.values)[1]
    return max(10, int(comparison.median(second) / 20) * 10)


def entry(comparison: Comparison, step: Step, limit: Limit) -> dict[str, Any]:
    """What the rounds gave for one step."""
    ratio = vars(comparison.ratio(step.folder, step.before.folder)) if step.before else None
    measured = side(comparison, step.folder)
    share_of_limit = limit.share(measured["throughput"])
    return measured | {
        "number": step.number,
        "limit": vars(limit) | {"share": share_of_limit},
        "ratio": ratio,
    }


def side(comparison: Comparison, name: str) -> dict[str, Any]:
    """A side's throughput (geometric mean of the rounds, as ratios are), interval and errors."""
    values, results = comparison.values[name], comparison.results[name]
    logs = [math.log(value) for value in values]
    low, high = confidence_interval(logs)
    return {
        "name": name,
        "throughput": math.exp(statistics.fmean(logs)),
        "low": math.exp(low),
        "high": math.exp(high),
        "values": values,
        "requests": sum(result.requests for result in results),
        "errors": errors(results),
    }


def errors(results: list[Result]) -> dict[str, int]:
    """All errors by kind."""
    return sum_errors([result.errors for result in results])


async def measure_latency(
    test_bed: TestBed, step: Step, rate: int, plan: Plan, throughput: float
) -> dict[str, Any]:
    """p50 and p99 in ms at `rate` requests/s; none where the step can't keep up with it.

    An open loop: at full load a closed one tells the length of the queue, and gevent's server
    then serves some connections more often than others.
    """
    if throughput < 1.2 * rate:
        return {"p50": None, "p99": None, "latency_errors": {}}
    load = mix_load(
        step,
        connections=4 * CONNECTIONS,
        rate=rate,
        seconds=max(plan.short, min(plan.latency, 330 / rate)),
        warmup=plan.warmup,
    )
    result = await test_bed.run(load)
    return {"p50": result.p50, "p99": result.p99, "latency_errors": result.errors}
