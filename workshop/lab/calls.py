"""Single requests, alone or many at once, each with its times: to see what a load only counts."""

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp
import psutil

from workshop.measuring.awake import awake


@dataclass
class Call:
    """One request and its answer; times in seconds since the first of its group was sent."""

    begun: float
    ended: float
    status: int
    headers: dict
    body: bytes

    @property
    def took(self) -> float:
        return self.ended - self.begun

    @property
    def json(self):
        return json.loads(self.body)


async def calls(url: str, times: int = 1, method: str = "GET", timeout: float = 60, **request):
    """Send the request `times` times at once, each on a connection of its own; list of Call.

    `request`: `json`, `headers` and the like, as aiohttp takes them. A request without any answer
    has status 0.
    """
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    limit = aiohttp.ClientTimeout(timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
        zero = time.perf_counter()
        every = (_call(session, zero, method, url, request) for _ in range(times))
        return await awake(asyncio.gather(*every))


async def call(url: str, method: str = "GET", **request) -> Call:
    """One request."""
    return (await calls(url, 1, method, **request))[0]


async def calls_until(event: asyncio.Event, url: str) -> list[Call]:
    """One request after another on one connection until the event is set; one at the least."""
    async with aiohttp.ClientSession() as session:
        zero, found = time.perf_counter(), []
        while not found or not event.is_set():
            found.append(await _call(session, zero, "GET", url, {}))
        return found


async def meanwhile(work, url: str) -> tuple[list[Call], list[Call]]:
    """Await `work`, a list of Call; meanwhile ask `url` again and again. Returns both."""
    done = asyncio.Event()
    asking = asyncio.create_task(calls_until(done, url))
    try:
        result = await work
    finally:
        done.set()
    return result, await asking


async def peak_threads(pid: int, work) -> int:
    """Await `work`; meanwhile count the threads of a process. Returns the most that were seen."""
    process, working, most = psutil.Process(pid), asyncio.ensure_future(work), 0
    while not working.done():
        most = max(most, process.num_threads())
        await asyncio.wait([working], timeout=0.005)
    working.result()
    return most


async def _call(session, zero: float, method: str, url: str, request: dict) -> Call:
    begun = time.perf_counter() - zero
    try:
        async with session.request(method, url, **request) as answer:
            body = await answer.read()
            status, headers = answer.status, answer.headers.copy()
    except (aiohttp.ClientError, TimeoutError) as error:
        status, headers, body = 0, {}, str(error).encode()
    return Call(begun, time.perf_counter() - zero, status, headers, body)
