"""A notebook's servers: several apps on services of their own, gone when the notebook is.

    lab = Lab()
    plain = lab.serve(1)
    slow = lab.serve(2, mistake="unpatched", SUPPLIER_DELAY=0.2)
    lab.close()

The servers belong to a process of their own (`keeper.py`), tied to the kernel by a pipe: it ends
them also when the kernel is restarted, interrupted or killed.
"""

import contextlib
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
import psycopg2

from workshop.checking import mistakes
from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.services.daemon import ports
from workshop.steps import Step, step

OWN = "WORKSHOP_OWN_SERVERS"  # set: never use those that `make step` runs
PATIENCE = 120  # seconds for one answer of the keeper; the first start copies a database


@dataclass
class Served:
    """An app that answers at `url`; `database` is what psycopg2 takes to reach its rows."""

    name: str
    url: str
    database: str
    pid: int
    log: Path
    own: bool = True  # False for one that `make step` runs

    def cpu(self) -> float:
        """Seconds of processor time that its process has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


class Lab:
    """Services and servers of this notebook. Only one is open: a new one closes the one before."""

    current: "Lab | None" = None

    def __init__(self, say=print):
        if Lab.current:
            Lab.current.close()
        self.say, self.numbers, self.answers = say, count(1), queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workshop.lab.keeper"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt of the kernel does not reach it
        )
        Lab.current = self
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        self.environment = self._answer(0)

    def serve(
        self,
        number: int,
        mistake: str | None = None,
        app: str | Path | None = None,
        own: bool = False,
        **settings,
    ) -> Served:
        """Serve a step, a mistake in it, or another app folder, with settings.

        A step as it is, is taken from `make step` where that runs it, unless `own`. Raises
        WorkshopError when the app does not start.
        """
        chosen = step(number)
        plain = not (mistake or app or settings or own)
        if plain and OWN not in os.environ and (running := step_that_runs(chosen)):
            self.say(f"{chosen.folder}: the one that runs at {running.url} is used.")
            return running
        folder = Path(app).resolve() if app else chosen.path
        arguments = {"folder": str(folder), "number": number, "mistake": mistake}
        found = self._call("serve", **arguments, settings=settings)
        name = mistake or folder.name
        self.say(f"{name}: started for this notebook at {found['url']}")
        if mistake:
            self.say(f"  {mistakes.mistake(number, mistake).mistake}")
        if settings:
            self.say("  with " + ", ".join(f"{key}={value}" for key, value in settings.items()))
        database = plain_url(self.environment["DATABASE_URL"])
        return Served(name, found["url"], database, found["pid"], Path(found["log"]))

    @property
    def redis_url(self) -> str:
        return self.environment["REDIS_URL"]

    def stop(self, served: Served) -> None:
        """Stop one server, if it is ours."""
        if served.own:
            self._call("stop", pid=served.pid)

    def stop_redis(self) -> None:
        self._call("redis", up=False)

    def start_redis(self) -> None:
        self._call("redis", up=True)

    def pids(self) -> list[int]:
        """The process ids of the keeper, the services and the servers."""
        return [self.process.pid, *self._call("about")["pids"]]

    def close(self) -> None:
        """End all servers, and wait for their end."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        Lab.current = None

    def _call(self, name: str, **arguments):
        number = next(self.numbers)
        try:
            self.process.stdin.write(
                json.dumps({"id": number, "name": name, "arguments": arguments}) + "\n"
            )
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise WorkshopError("The servers are closed: run the cell with Lab() again.") from error
        return self._answer(number)

    def _answer(self, number: int):
        """The answer to this call; older ones were for calls that were interrupted."""
        while True:
            try:
                message = self.answers.get(timeout=PATIENCE)
            except queue.Empty as error:
                raise WorkshopError(f"The servers did not answer within {PATIENCE} s.") from error
            if message is None:
                raise WorkshopError("The servers ended: run the cell with Lab() again.")
            if "say" in message:
                self.say(message["say"])
            elif message["id"] == number:
                if "error" in message:
                    raise WorkshopError(message["error"])
                return message["result"]

    def _read(self, stream) -> None:
        for line in stream:
            self.answers.put(json.loads(line))
        self.answers.put(None)


def step_that_runs(chosen: Step) -> Served | None:
    """The step as `make step` runs it now, or None."""
    from workshop.services import shared

    connection = http.client.HTTPConnection("127.0.0.1", chosen.port, timeout=1)
    try:
        connection.request("GET", "/")
        if json.load(connection.getresponse())["step"] != chosen.folder:
            return None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    pid = listener(chosen.port)
    if pid is None:
        return None
    database = plain_url(shared().environment()["DATABASE_URL"])
    log = STATE / f"{chosen.folder}.log"
    return Served(chosen.folder, f"http://127.0.0.1:{chosen.port}", database, pid, log, own=False)


def listener(port: int) -> int | None:
    """The process that listens on this port, as far as we may look."""
    return next((pid for pid in psutil.pids() if port in ports(pid)), None)


def plain_url(url: str) -> str:
    return url.replace("+psycopg2", "", 1)


def rows(database: str, query: str, *values) -> list[tuple]:
    """What PostgreSQL answers to one query, over a connection of its own."""
    connection = psycopg2.connect(database, application_name="notebook")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()
    finally:
        connection.close()
