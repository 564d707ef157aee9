"""A lane of the checks, seen from inside: pytest that runs one check after another, as it is told.

Lanes share nothing that a check disturbs: each is a process with PostgreSQL, Valkey and apps of its
own. The runner hands the next check to whichever lane is free.
"""

import json
import os
import queue
import re
import signal
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection

import pytest

from workshop.checking.outcome import with_other_cases
from workshop.server import Server, last_traceback
from workshop.services import Services, private
from workshop.steps import Step
from workshop.target import Target


class Next(pytest.Item):
    """Stands for the check that comes next, so that pytest keeps what the session shares."""

    def runtest(self) -> None:
        """Never called."""


LANE = pytest.StashKey["Lane"]()


class Lane:
    """A pytest plugin; the fixtures of the checks find in it what they run against.

    `services` are running ones; without them the lane starts its own, while pytest collects.
    """

    def __init__(
        self, connection: Connection, step: Step, target: Target, services: Services | None = None
    ):
        self.connection, self.step, self.target = connection, step, target
        self.servers: list[Server] = []
        self.over = False
        self._orders: queue.Queue[str] = queue.Queue()
        self._printed: dict[Server, int] = {}  # characters of output when the check began
        self._failures: dict[str, dict] = {}  # of the check that runs, by case
        self._skipped = ""
        self._services: Future[Services] = Future()
        self._stack = ExitStack()
        threading.Thread(target=self._listen, daemon=True).start()
        if services:
            self._services.set_result(services)
        elif target.folder:
            threading.Thread(target=self._start_services).start()

    def services(self) -> Services:
        """PostgreSQL and Valkey of this lane, once they run; raises WorkshopError."""
        return self._services.result()

    def close(self) -> None:
        """Stop the services that this lane started."""
        self.over = True
        if self.target.folder:
            with suppress(Exception):  # where they did not start, the checks have said so
                self._services.result()
        self._stack.close()

    def send(self, **event) -> None:
        """Tell the runner: log, warning, crash, ready or result."""
        with suppress(BrokenPipeError):  # it is gone: the lane ends by itself
            self.connection.send_bytes(json.dumps(event).encode())

    def _start_services(self) -> None:
        own = private(log=lambda text: self.send(log=text), scram_iterations=1)
        try:
            self._services.set_result(self._stack.enter_context(own))
        except BaseException as error:
            self._services.set_exception(error)

    def _listen(self) -> None:
        """Take orders. The connection breaks when the runner was killed: then nobody waits for us,
        and the servers that the lane started must not outlive it."""
        with suppress(EOFError, OSError):
            while True:
                self._orders.put(self.connection.recv_bytes().decode())
        self._orders.put("")
        if not self.over:
            os.kill(os.getpid(), signal.SIGINT)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LANE] = self

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the checks in the order in which the runner names them."""
        if session.testsfailed:
            raise session.Interrupted("the checks could not be collected")
        cases = defaultdict(list)
        for item in session.items:
            cases[item.name.partition("[")[0].removeprefix("test_")].append(item)
        following = Next.from_parent(session, name="next")
        self.send(ready=True)
        while check := self._orders.get():
            began, self._failures, self._skipped = time.monotonic(), {}, ""
            for item in cases[check]:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            result = self._failure() or {"passed": True, "not_applicable": self._skipped}
            self.send(result=result | {"seconds": time.monotonic() - began})
        return True

    def pytest_runtest_setup(self) -> None:
        self._printed = {server: len(server.output()) for server in self.servers}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Keep the failure of each case of a check, and its traceback from the learner."""
        report = yield
        if report.skipped:
            self._skipped = str(call.excinfo.value)
        if report.failed and report.when != "teardown":
            error = call.excinfo.value
            by_assertion = isinstance(error, AssertionError)
            message = str(error) if by_assertion else f"{type(error).__name__}: {error}"
            if not by_assertion:
                report.sections.append(("traceback", str(report.longrepr)))
            report.longrepr = message
            case = item.callspec.id if hasattr(item, "callspec") else item.name
            self._failures[case] = {
                "passed": False,
                "message": message,
                "by_assertion": by_assertion,
                "trace": self._trace() if re.search(r"\b500\b|no answer", message) else [],
                "hint": getattr(error, "hint", ""),
            }
        return report

    def _failure(self) -> dict:
        """The first case that failed, whole, and the names of the others; empty if all passed."""
        if not self._failures:
            return {}
        first, *others = self._failures
        failure = self._failures[first]
        return failure | {"message": with_other_cases(failure["message"], others)}

    def _trace(self) -> list[str]:
        """The end of the last traceback that an app printed during this check."""
        for server in self.servers:
            output = server.output()[self._printed.get(server, 0) :]
            if lines := last_traceback(output, server.folder):
                return lines
        return []
