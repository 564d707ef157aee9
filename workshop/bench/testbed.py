"""The servers of a bench, and loads on them that don't disturb each other."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import aiohttp
import psutil
import psycopg2

from workshop.checking import mistakes
from workshop.compare import Comparison, compare
from workshop.errors import WorkshopError
from workshop.files import OPEN_FILES, raise_open_files_limit
from workshop.load import Login, Request, load, until_answered
from workshop.measuring.result import Result
from workshop.server import Server
from workshop.services import Services
from workshop.steps import step
from workshop.target import Target, serve

SETTLE = 120  # seconds at the most until a server has answered what is left of a load
SETTINGS = {"POOL_TIMEOUT": 10}  # wait for the pool: a quick refusal would count as an error
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND state <> 'idle'"
THREADS = "from app import app; app.run(app.config['HOST'], app.config['PORT'], threaded=True)"
UVICORN = ("-m", "uvicorn", "--port", "{port}", "--loop", "uvloop", "--http", "httptools",
           "--no-access-log")  # fmt: skip

THREADED = Target("threads", step(1).path, arguments=("-c", THREADS))
GUNICORN = Target(
    "gunicorn", step(2).path, arguments=("-m", "gunicorn", "-c", "alternatives/gunicorn.conf.py")
)
QUART = Target("quart", step(2).path, arguments=(*UVICORN, "alternatives.quart_app:app"))


def step_target(number: int) -> Target:
    """A finished step, with the settings of the bench."""
    return Target.of(step(number), **SETTINGS)


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load on a target; fields as in `load`, the path for where there are no requests."""

    target: Target
    path: str = "/"
    requests: Sequence[Request] | None = None
    connections: int = 50
    seconds: float = 1
    warmup: float = 0.3
    rate: float | None = None
    login: Login | None = None


class TestBed:
    """Servers by the names of their targets, each started when first asked for.

    `on_load` is called with a text after each load. Raises WorkshopError where the system allows
    fewer open files than the bench needs.
    """

    __test__ = False  # no tests in here, whatever its name

    def __init__(
        self, services: Services, folder: Path, on_load: Callable[[str], None] = lambda text: None
    ):
        self.services, self.folder, self.on_load = services, folder, on_load
        self.database = services.environment()["DATABASE_URL"]
        self.servers: dict[str, Server] = {}
        self.stack = ExitStack()
        allowed = raise_open_files_limit(OPEN_FILES)
        if allowed < OPEN_FILES:
            raise WorkshopError(
                f"A process may open {allowed} files here, and the bench needs {OPEN_FILES}: ask "
                f"for more with `ulimit -Hn {OPEN_FILES}`, or in /etc/security/limits.conf."
            )

    def server(self, target: Target) -> Server:
        if target.name not in self.servers:
            log = self.folder / f"{target.name}.log"
            self.servers[target.name] = serve(target, self.services, log)
            self.stack.callback(self.stop, target)
            self.servers[target.name].start()
        return self.servers[target.name]

    def stop(self, target: Target) -> None:
        """Stop a server; the next load on the target finds a new one."""
        if server := self.servers.pop(target.name, None):
            server.stop()

    def close(self) -> None:
        self.stack.close()

    def mistake(self, number: int, name: str) -> Target:
        """A step with a mistake in it."""
        folder = mistakes.apply(mistakes.mistake(number, name), self.folder / name)
        return Target.of(folder, **SETTINGS)

    async def run(self, load: Load, seed: int = 1) -> Result:
        """One load, once the server is there; then wait until server and PostgreSQL rest again."""
        result, _ = await self.run_with_memory(load, seed)
        return result

    async def run_with_memory(
        self, options: Load, seed: int = 1, settle: bool = True
    ) -> tuple[Result, float]:
        """The same, and the most memory in MiB that the server used alone meanwhile."""
        server = self.server(options.target)
        running = load(
            server.url if options.requests else server.url + options.path,
            options.requests,
            connections=options.connections,
            seconds=options.seconds,
            warmup=options.warmup,
            rate=options.rate,
            login=options.login,
            seed=seed,
            progress=False,
            label=options.target.name,
        )
        result, peak_mib = await with_peak_memory(running, server.process.pid)
        if settle:
            await self.settle(server)
        self.on_load(f"{options.target.name}, {options.connections} connections")
        return result, peak_mib

    async def compare(self, sides: Mapping[str, Load], rounds: int) -> Comparison:
        """Interleaved rounds of the loads, by their labels.

        Each round sends a different sequence of requests, the same one to all sides.
        """

        def side(load: Load) -> Callable[[], Awaitable[Result]]:
            seeds = count(1)

            async def measure() -> Result:
                seed = next(seeds)
                return await until_answered(
                    lambda seconds: self.run(replace(load, seconds=seconds), seed), load.seconds
                )

            return measure

        functions = {label: side(load) for label, load in sides.items()}
        return await compare(functions, rounds=rounds, progress=False)

    async def settle(self, server: Server) -> None:
        """Wait until nothing of the last load is left: its clients are gone, their work is not.

        A server with one thread answers GET / after all that queued before; PostgreSQL rests
        once three looks in a row found no query at work.
        """
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SETTLE)) as session:
                async with session.get(server.url) as answer:
                    await answer.read()
        idle, deadline = 0, time.monotonic() + SETTLE
        with contextlib.closing(psycopg2.connect(self.services.postgres.admin())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while idle < 3 and time.monotonic() < deadline:
                    cursor.execute(AT_WORK)
                    [[at_work]] = cursor.fetchall()
                    idle = 0 if at_work else idle + 1
                    await asyncio.sleep(0.02)


async def with_peak_memory(work: Awaitable[Result], pid: int) -> tuple[Result, float]:
    """Await `work`, and meanwhile look at the memory of a process. Returns both, in MiB."""
    running, peak_mib = asyncio.ensure_future(work), 0.0
    try:
        while not running.done():
            await asyncio.wait([running], timeout=0.25)
            peak_mib = max(peak_mib, memory_mib(pid))
    finally:
        running.cancel()
    return running.result(), peak_mib


def memory_mib(pid: int) -> float:
    """What a process and its children use alone, without shared pages; 0 where unknown."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(member.memory_full_info().uss for member in family) / 2**20
    except psutil.Error:
        return 0.0
