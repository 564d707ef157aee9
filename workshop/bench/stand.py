"""The servers of a bench, and runs on them that do not disturb each other."""

import asyncio
import contextlib
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import psutil
import psycopg2

from workshop.checking import mistakes
from workshop.compare import Comparison
from workshop.compare import compare as compare_sides
from workshop.errors import WorkshopError
from workshop.files import OPEN_FILES, raise_open_files_limit
from workshop.load import load
from workshop.measuring.result import Result
from workshop.server import Server
from workshop.services import Services
from workshop.steps import step, steps
from workshop.target import Target, serve

SETTLE = 120  # seconds at the most until a server has answered what is left of a run
SETTINGS = {"POOL_TIMEOUT": 10}  # wait for the pool: a quick refusal would count as an error
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND state <> 'idle'"
THREADS = "from app import app; app.run(app.config['HOST'], app.config['PORT'], threaded=True)"


OTHERS = {  # name: the step, and what Python is given
    "threads": (1, ("-c", THREADS)),
    "gunicorn": (2, ("-m", "gunicorn", "-c", "alternatives/gunicorn.conf.py")),
    "quart": (
        2,
        (
            *("-m", "hypercorn", "--backlog", "1024", "--bind", "127.0.0.1:{port}"),
            "alternatives/quart_app:app",
        ),
    ),
}


class Stand:
    """Servers by name, each started when first asked for, ended with `close`.

    A name is that of a step's folder, of one of OTHERS, or of a mistake in step 2; what follows
    a space are settings of its own: "step03_pooling POOL_SIZE=5 MAX_OVERFLOW=0".
    """

    def __init__(self, services: Services, folder: Path, moved=lambda text: None):
        self.services, self.folder, self.moved = services, folder, moved
        self.servers: dict[str, Server] = {}
        self.stack = ExitStack()
        allow_files()

    def server(self, name: str) -> Server:
        if name not in self.servers:
            self.moved(f"starting {name}")
            self.servers[name] = self._made(name)
            self.stack.callback(self.end, name)
            self.servers[name].start()
        return self.servers[name]

    def _made(self, name: str) -> Server:
        kind, *words = name.split()
        settings = SETTINGS | dict(word.split("=") for word in words)
        log = self.folder / f"{name.replace(' ', '_')}.log"
        if kind in OTHERS:
            number, command = OTHERS[kind]
            own = Target(kind, step(number).path, arguments=command)
            return own.server(self.services.environment(), log)
        app = next((s for s in steps() if s.folder == kind), None)
        app = app or mistakes.apply(mistakes.mistake(2, kind), self.folder / kind)
        return serve(app, self.services, log, **settings)

    def end(self, name: str) -> None:
        """End a server; the next run on it finds a new one."""
        if server := self.servers.pop(name, None):
            server.stop()

    def close(self) -> None:
        self.stack.close()

    async def run(
        self, name: str, path="/", requests=None, warmup=0.3, rest=True, **options
    ) -> Result:
        """One run of `load`, once the server is there, with `peak_mib` in the result: the most
        memory that it used alone, in MiB. Then wait until the server and PostgreSQL rest again.
        """
        server = self.server(name)
        self.moved(f"{name}, {options.get('connections', 50)} connections")
        url = server.url if requests else server.url + path
        options |= {"warmup": warmup, "progress": False, "label": name}
        running = asyncio.ensure_future(load(url, requests, **options))
        peak = 0.0
        try:
            while not running.done():
                await asyncio.wait([running], timeout=0.25)
                peak = max(peak, memory(server.process.pid))
        finally:
            running.cancel()
        result = running.result()
        result.peak_mib = peak
        if rest:
            await self.settle(server)
        return result

    async def compare(self, sides: dict[str, dict], rounds: int, **common) -> Comparison:
        """Interleaved rounds of `run`; `sides`: a label, and the arguments that are its alone.

        Each round sends another sequence of requests, the same one to all sides.
        """
        results: dict[str, list[Result]] = {label: [] for label in sides}

        def side(label: str, options: dict):
            async def measured() -> float:
                seed = len(results[label]) + 1
                for longer in (1, 4, 16):  # a busy machine may give no answer in a short run
                    times = {"seconds": longer * (common | options)["seconds"]}
                    result = await self.run(**common | options | times, seed=seed)
                    if result.throughput:
                        results[label].append(result)
                        return result.throughput
                raise WorkshopError(
                    f"{label} gave no good answer: {result.errors or 'none at all'}"
                )

            return measured

        functions = {label: side(label, options) for label, options in sides.items()}
        comparison = await compare_sides(functions, rounds=rounds, progress=False)
        comparison.results = results
        return comparison

    async def settle(self, server: Server) -> None:
        """Wait until nothing of the last run is left: its clients are gone, their work is not.

        A server with one thread answers GET / after all that queued before; PostgreSQL rests
        once three looks in a row found no query at work.
        """
        self.moved("waiting until the server rests")
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
                    idle = 0 if cursor.fetchone()[0] else idle + 1
                    await asyncio.sleep(0.02)


def memory(pid: int) -> float:
    """MiB that a process and its children use alone, shared pages left out; 0 where not told."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
        return sum(member.memory_full_info().uss for member in family) / 2**20
    except psutil.Error:
        return 0.0


def allow_files() -> None:
    """Raises WorkshopError where the system allows fewer files than the bench needs."""
    allowed = raise_open_files_limit(OPEN_FILES)
    if allowed < OPEN_FILES:
        raise WorkshopError(
            f"A process may open {allowed} files here, and the bench needs {OPEN_FILES}: ask for "
            f"more with `ulimit -Hn {OPEN_FILES}`, or in /etc/security/limits.conf."
        )
