"""A notebook's servers: several apps on services of their own, gone when the notebook is.

    lab = Lab()
    plain = lab.serve(1)
    slow = lab.serve(2, mistake="unpatched", SUPPLIER_DELAY=0.2)
    lab.close()

The servers belong to a process of their own (`server_supervisor.py`), tied to the kernel by a pipe:
it ends them also when the kernel is restarted, interrupted or killed.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

import psutil

from workshop.checking import mistakes
from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.services import shared
from workshop.services.daemon import ports
from workshop.steps import Step, step
from workshop.target import answers_as
from workshop.urls import libpq_url

OWN = "WORKSHOP_OWN_SERVERS"  # set: never use those that `make step` runs
ANSWER_TIMEOUT = 120  # seconds; the first start copies a database


@dataclass
class LabServer:
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

    def __init__(self, log: Callable[[str], None] = print):
        """`log` is called with what goes on, a line at a time."""
        if Lab.current:
            Lab.current.close()
        self.log, self.numbers = log, count(1)
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workshop.lab.server_supervisor"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt of the kernel does not reach it
        )
        Lab.current = self
        self.input, output = cast(IO, self.process.stdin), cast(IO, self.process.stdout)
        threading.Thread(target=self._read, args=(output,), daemon=True).start()
        self.environment = self._answer(0)

    def serve(
        self,
        number: int,
        mistake: str | None = None,
        app: str | Path | None = None,
        own: bool = False,
        **settings: Any,
    ) -> LabServer:
        """Serve a step, a mistake in it, or another app folder, with settings.

        A step as it is, is taken from `make step` where that runs it, unless `own`. Raises
        WorkshopError when the app does not start.
        """
        chosen = step(number)
        unchanged = not (mistake or app or settings or own)
        if unchanged and OWN not in os.environ and (running := running_step(chosen)):
            self.log(f"{chosen.folder}: the one that runs at {running.url} is used.")
            return running
        folder = Path(app).resolve() if app else chosen.path
        arguments = {"folder": str(folder), "number": number, "mistake": mistake}
        found = self._call("serve", **arguments, settings=settings)
        name = mistake or folder.name
        self.log(f"{name}: started for this notebook at {found['url']}")
        if mistake:
            self.log(f"  {mistakes.mistake(number, mistake).mistake}")
        if settings:
            self.log("  with " + ", ".join(f"{key}={value}" for key, value in settings.items()))
        database = libpq_url(self.environment["DATABASE_URL"])
        return LabServer(name, found["url"], database, found["pid"], Path(found["log"]))

    @property
    def redis_url(self) -> str:
        return self.environment["REDIS_URL"]

    def stop(self, server: LabServer) -> None:
        """Stop one server, if it is ours."""
        if server.own:
            self._call("stop", pid=server.pid)

    def stop_redis(self) -> None:
        self._call("stop_redis")

    def start_redis(self) -> None:
        self._call("start_redis")

    def pids(self) -> list[int]:
        """The process ids of the supervisor, the services and the servers."""
        return [self.process.pid, *self._call("about")["pids"]]

    def close(self) -> None:
        """End all servers, and wait for their end."""
        with contextlib.suppress(OSError):
            self.input.close()
        self.process.wait()
        Lab.current = None

    def _call(self, name: str, **arguments: Any) -> Any:
        number = next(self.numbers)
        try:
            self.input.write(
                json.dumps({"id": number, "name": name, "arguments": arguments}) + "\n"
            )
            self.input.flush()
        except (OSError, ValueError) as error:
            raise WorkshopError("The servers are closed: run the cell with Lab() again.") from error
        return self._answer(number)

    def _answer(self, number: int) -> Any:
        """The answer to this call; older ones were for calls that were interrupted."""
        while True:
            try:
                message = self.answers.get(timeout=ANSWER_TIMEOUT)
            except queue.Empty as error:
                sentence = f"The servers did not answer within {ANSWER_TIMEOUT} s."
                raise WorkshopError(sentence) from error
            if message is None:
                raise WorkshopError("The servers ended: run the cell with Lab() again.")
            if "log" in message:
                self.log(message["log"])
            elif message["id"] == number:
                if "error" in message:
                    raise WorkshopError(message["error"])
                return message["result"]

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.answers.put(json.loads(line))
        self.answers.put(None)


def running_step(step: Step) -> LabServer | None:
    """The step as `make step` runs it now, or None."""
    url = f"http://127.0.0.1:{step.port}"
    pid = listener(step.port) if answers_as(step, url) else None
    if pid is None:
        return None
    database = libpq_url(shared().environment()["DATABASE_URL"])
    return LabServer(step.folder, url, database, pid, STATE / f"{step.folder}.log", own=False)


def listener(port: int) -> int | None:
    """The process that listens on this port, as far as we may look."""
    return next((pid for pid in psutil.pids() if port in ports(pid)), None)
