"""The journey: the same mix of requests on all five steps, and what it could be at best.

The mix is a shop's: most requests look at a product, some ask a supplier (and wait 0.1 s), one in
ten reads the sales report, one in a hundred is an order. So every technique has something to
remove, and an order now and then drops the cached report, as it would in a shop.
"""

import math
import statistics
from concurrent.futures import ThreadPoolExecutor

from workshop.compare import Comparison
from workshop.load import Login, Request
from workshop.measuring.limits import Limit, bare_query
from workshop.measuring.machine import cores
from workshop.measuring.result import Result
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


def reports(dsn: str, seconds: float) -> Limit:
    """How many reports/s PostgreSQL gives, asked through libpq on a connection for each core."""
    with ThreadPoolExecutor(cores()) as threads:
        asked = [threads.submit(bare_query, REPORT, dsn, seconds=seconds) for _ in range(cores())]
        rate = sum(limit.result().per_second for limit in asked)
    return Limit("the bare report through libpq, a connection for each core", rate)


def limit(step: Step, reports_per_second: float) -> Limit:
    """The nearest of the limits of the mix on this step.

    One request at a time waits for each wait; 50 connections share them. Until it is cached, the
    report costs PostgreSQL a query for each.
    """
    at_once = CONNECTIONS if step.is_concurrent else 1
    mean = WAIT * share(*WAITING)
    found = [Limit(f"{at_once} at once / {mean * 1000:g} ms of waiting (mean)", at_once / mean)]
    if not step.has_cache:
        per_second = reports_per_second / share("GET /data")
        found.append(Limit("the reports that PostgreSQL can make", per_second))
    return min(found, key=lambda limit: limit.per_second)


def login(step: Step) -> Login | None:
    return LOGIN if step.has_login else None


async def measure(stand, plan) -> dict:
    """Throughput in interleaved rounds, then latency at a rate that steps 2 to 5 can carry."""
    base = reports(stand.services.environment()["DATABASE_URL"], plan.short)
    sides = {
        s.folder: {
            "name": s.folder,
            "login": login(s),
            "seconds": plan.journey if s.is_concurrent else plan.slow,
        }
        for s in steps()
    }
    comparison = await stand.compare(
        sides, plan.rounds, requests=MIX, connections=CONNECTIONS, warmup=plan.warmup
    )
    rate = offered(comparison)
    found = [entry(comparison, s, limit(s, base.per_second)) for s in steps()]
    for s, told in zip(steps(), found, strict=True):
        told |= await latency(stand, s, rate, plan, told["throughput"])
    return {
        "connections": CONNECTIONS,
        "wait": WAIT,
        "mix": [{"request": r.name, "weight": r.weight} for r in MIX],
        "reports_per_second": base.per_second,
        "rate": rate,
        "steps": found,
        "warnings": comparison.warnings(),
    }


def offered(comparison: Comparison) -> int:
    """Half of what step 2 serves, in whole tens: all later steps carry it with room to spare."""
    second = list(comparison.values)[1]
    return max(10, int(comparison.median(second) / 20) * 10)


def entry(comparison: Comparison, step: Step, limit: Limit) -> dict:
    """What the rounds said about one step."""
    told = side(comparison, step.folder) | {"number": step.number}
    told["limit"] = vars(limit) | {"share": limit.share(told["throughput"])}
    told["ratio"] = vars(comparison.ratio(step.folder, step.before.folder)) if step.before else None
    return told


def side(comparison: Comparison, name: str) -> dict:
    """A side's throughput (geometric mean of the rounds, as ratios are), interval and errors."""
    values = comparison.values[name]
    logs = [math.log(value) for value in values]
    low, high = confidence_interval(logs)
    return {
        "name": name,
        "throughput": math.exp(statistics.fmean(logs)),
        "low": math.exp(low),
        "high": math.exp(high),
        "values": values,
        "requests": sum(result.requests for result in comparison.results[name]),
        "errors": errors(comparison.results[name]),
    }


def errors(results: list[Result]) -> dict[str, int]:
    """All errors by kind."""
    kinds = sorted({kind for result in results for kind in result.errors})
    return {kind: sum(result.errors.get(kind, 0) for result in results) for kind in kinds}


async def latency(stand, step: Step, rate: int, plan, throughput: float) -> dict:
    """p50 and p99 in ms at `rate` requests/s; none where the step cannot keep up with it.

    An open loop: at full load a closed one tells the length of the queue, and gevent's server
    then serves some connections more often than others.
    """
    if throughput < 1.2 * rate:
        return {"p50": None, "p99": None, "latency_errors": {}}
    result = await stand.run(
        step.folder,
        requests=MIX,
        connections=4 * CONNECTIONS,
        rate=rate,
        seconds=max(plan.short, min(plan.latency, 330 / rate)),
        warmup=plan.warmup,
        login=login(step),
    )
    return {"p50": result.p50, "p99": result.p99, "latency_errors": result.errors}
