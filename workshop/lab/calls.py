"""Single requests, alone or many at once, each with its times: to see what a load only counts."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import psutil

from workshop.measuring.interruptible import interruptible

T = TypeVar("T")


@dataclass
class Call:
    """One request and its answer; times in seconds since the first of its group was sent."""

    started_at: float
    ended_at: float
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def duration(self) -> float:
        return self.ended_at - self.started_at

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def calls(
    url: str, times: int = 1, method: str = "GET", timeout: float = 60, **request: Any
) -> list[Call]:
    """Send the request `times` times at once, each on a connection of its own.

    `timeout` is in seconds; `request`: `json`, `headers` and the like, as aiohttp takes them. A
    request without any answer has status 0.
    """
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    client_timeout = aiohttp.ClientTimeout(timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=client_timeout) as session:
        zero = time.perf_counter()
        requests = (_call(session, zero, method, url, request) for _ in range(times))
        return await interruptible(asyncio.gather(*requests))


async def call(url: str, method: str = "GET", **request: Any) -> Call:
    """One request."""
    return (await calls(url, 1, method, **request))[0]


async def calls_meanwhile(work: Awaitable[T], url: str) -> tuple[T, list[Call]]:
    """Await `work`, and meanwhile send one GET of `url` after another.

    Returns the result of the work, and the calls: one at the least.
    """
    done = asyncio.Event()
    asking = asyncio.create_task(_calls_until(done, url))
    try:
        result = await work
    finally:
        done.set()
    return result, await asking


async def peak_threads(pid: int, work: Awaitable[Any]) -> int:
    """Await `work`, and meanwhile count the threads of a process. Returns the highest count."""
    process, working, peak = psutil.Process(pid), asyncio.ensure_future(work), 0
    while not working.done():
        peak = max(peak, process.num_threads())
        await asyncio.wait([working], timeout=0.005)
    working.result()
    return peak


async def _calls_until(done: asyncio.Event, url: str) -> list[Call]:
    async with aiohttp.ClientSession() as session:
        zero = time.perf_counter()
        finished: list[Call] = []
        while not finished or not done.is_set():
            finished.append(await _call(session, zero, "GET", url, {}))
        return finished


async def _call(
    session: aiohttp.ClientSession, zero: float, method: str, url: str, request: dict[str, Any]
) -> Call:
    started_at = time.perf_counter() - zero
    headers: Mapping[str, str]
    try:
        async with session.request(method, url, **request) as answer:
            body = await answer.read()
            status, headers = answer.status, answer.headers.copy()
    except (aiohttp.ClientError, TimeoutError) as error:
        status, headers, body = 0, {}, str(error).encode()
    return Call(started_at, time.perf_counter() - zero, status, headers, body)
