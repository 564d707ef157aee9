"""Run the checks of a step, and of the steps before it, against an app folder."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.services import Services
from workshop.steps import Check, checks_up_to

NOT_PASSED_ON = {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "JWT_SECRET", "JWT_SECRET_PREVIOUS"}
CHECKS = ROOT / "tests" / "checks"


@dataclass
class Outcome:
    """What one check said. `message` is the first failure: did, got, expected."""

    check: Check
    passed: bool
    message: str = ""
    by_assertion: bool = True  # False: the check itself broke
    seconds: float = 0.0


def _quiet(heard) -> None:
    """Nobody listens."""


def run(
    number: int,
    app: Path,
    only: list[Check] | None = None,
    tell: Callable[[Outcome], None] = _quiet,
    junit: Path | None = None,
    services: Services | None = None,
    note: Callable[[str], None] = _quiet,
    limit: float = 1800,
    begins: Callable[[Check], None] = _quiet,
    say: Callable[[str], None] = _quiet,
) -> list[Outcome]:
    """Run the checks up to step `number` (or `only` these) against the folder `app`.

    `tell` hears each outcome as it comes, `note` what else is to be said of the app: that it was
    stopped after `limit` seconds, left processes behind or printed megabytes; `begins` hears
    which check runs, `say` what is made ready before. The checks start services of their own
    unless they are given running ones. Raises WorkshopError where the checks could not run.
    """
    return Prepared(number, app, only, junit, services).run(tell, note, limit, begins, say)


class Prepared:
    """The checks in a process of their own, which waits with everything imported for `run`.

    For who checks again and again, that is sooner by a second. `run` or `stop` ends it; until
    then `wanted` may be put into another order.
    """

    def __init__(self, number, app, only=None, junit=None, services=None):
        self.wanted = only if only is not None else checks_up_to(number)
        reading, writing = os.pipe()
        gate, self.gate = os.pipe()
        self.log = STATE / "checks.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = _environment(number, app, services)
        environment |= {"CHECK_EVENTS": str(writing), "CHECK_GATE": str(gate)}
        self.mark = environment["WORKSHOP_RUN"]
        self.interrupted = False
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                _pytest(self.wanted, junit),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writing, gate],
            )
        os.close(writing)
        os.close(gate)
        self.events = os.fdopen(reading)

    def interrupt(self) -> None:
        """End a run at once, from another thread: `run` then raises WorkshopError.

        Services that the checks were given may be stopped by this: start them before the next run.
        """
        self.interrupted = True
        self.process.kill()

    def stop(self) -> int:
        """End the checks and all that they started; returns how many processes were left over."""
        if self.gate is not None:
            os.close(self.gate)
            self.gate = None
        _stop(self.process)
        self.events.close()
        return end_leftovers(self.mark)

    def run(self, tell, note=_quiet, limit=1800.0, begins=_quiet, say=_quiet) -> list[Outcome]:
        """Let the checks run: see the function of this name."""
        late = threading.Event()
        overdue = threading.Timer(limit, lambda: (late.set(), _stop(self.process)))
        overdue.start()
        hear = {"note": note, "say": say}
        try:
            with contextlib.suppress(BrokenPipeError):  # pytest has ended: told below
                os.write(self.gate, json.dumps([check.id for check in self.wanted]).encode())
            outcomes = _collect(self.wanted, self.events, tell, begins, hear)
            self.process.wait()
        finally:
            overdue.cancel()
            if self.stop():
                note("left processes behind")
        if late.is_set():
            note(f"was stopped after {limit:.0f} s")
            message = f"did: ran all checks\ngot: no end after {limit:.0f} s\nexpected: an end"
            return [outcomes.get(c.id) or Outcome(c, False, message) for c in self.wanted]
        missing = [check.id for check in self.wanted if check.id not in outcomes]
        if missing or self.process.returncode not in (0, 1):
            raise WorkshopError(
                f"The checks could not run (no word of {missing[0] if missing else 'their end'}): "
                f"see {self.log.relative_to(ROOT)}."
            )
        return [outcomes[check.id] for check in self.wanted]


def _environment(number: int, app: Path, services: Services | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in NOT_PASSED_ON}
    if services:
        where = [str(services.state), services.postgres.port, services.valkey.port]
        kept["CHECK_SERVICES"] = json.dumps(where)
    return kept | {
        "CHECK_STEP": str(number),
        "CHECK_APP": str(app),
        "WORKSHOP_RUN": uuid.uuid4().hex,  # marks all processes that come of this run
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the checks need none, and start quicker
    }


def _stop(process: subprocess.Popen) -> None:
    """Let the checks stop what they started; if they do not, end them."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_leftovers(run: str) -> int:
    """End every process that carries the mark of this run; returns how many there were."""
    found = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get("WORKSHOP_RUN") == run and process.pid != os.getpid():
                process.kill()
                found += 1
        except psutil.Error:
            continue
    return found


def _pytest(wanted: list[Check], junit: Path | None) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--junitxml={junit}"] if junit else []
    return command + [f"{_file(check)}::test_{check.id}" for check in wanted]


def _file(check: Check) -> Path:
    return next(CHECKS.glob(f"test_step{check.step:02}_*.py"))


def _collect(wanted, events, tell, begins, hear) -> dict[str, Outcome]:
    """Merge the cases of each check; a check is told once its last case has run."""
    by_id = {check.id: check for check in wanted}
    outcomes: dict[str, Outcome] = {}
    left: dict[str, int] = {}
    clock = time.monotonic()
    for line in events:
        event = json.loads(line)
        if "collected" in event:
            for id in event["collected"]:
                left[id] = left.get(id, 0) + 1
            continue
        for kind in hear.keys() & event.keys():
            hear[kind](event[kind])
        id = event.get("check")
        if id not in by_id:
            continue
        if id not in outcomes:
            begins(by_id[id])
        outcome = outcomes.setdefault(id, Outcome(by_id[id], passed=True))
        if event["outcome"] == "begins":
            continue
        outcome.seconds += time.monotonic() - clock
        clock = time.monotonic()
        if event["outcome"] == "failed" and outcome.passed:
            outcome.passed = False
            outcome.message = event["message"]
            outcome.by_assertion = event["by_assertion"]
        left[id] -= 1
        if left[id] == 0:
            tell(outcome)
    # Of a check that was broken off nothing is known, unless a case of it had failed.
    return {id: o for id, o in outcomes.items() if left[id] == 0 or not o.passed}
