"""Run the checks of a step, and of the steps before it, against an app folder."""

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from workshop.checking import session
from workshop.errors import WorkshopError
from workshop.paths import ROOT, STATE
from workshop.services import Services
from workshop.steps import Check, checks_up_to

NOT_PASSED_ON = {"DATABASE_URL", "REDIS_URL", "HOST", "PORT", "JWT_SECRET", "JWT_SECRET_PREVIOUS"}


@dataclass
class Outcome:
    """What one check said. `message` is the first failure: did, got, expected."""

    check: Check
    passed: bool
    message: str = ""
    by_assertion: bool = True  # False: the check itself broke
    seconds: float = 0.0


def ids(outcomes: list[Outcome]) -> tuple[list[str], list[str]]:
    """The ids of the checks that passed, and of those that failed."""
    passed = [outcome.check.id for outcome in outcomes if outcome.passed]
    return passed, [outcome.check.id for outcome in outcomes if not outcome.passed]


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
    return Run(number, app, only, junit, services).outcomes(tell, note, limit, begins, say)


class Run:
    """One run of the checks; `outcomes` follows it to its end."""

    def __init__(self, number, app, only=None, junit=None, services=None):
        self.wanted = only if only is not None else checks_up_to(number)
        self.log = STATE / "checks.log"
        self.interrupted = False
        environment = _environment(number, app, services)
        self.mark = environment["WORKSHOP_RUN"]
        self.process, self.events = session.start(self.wanted, environment, self.log, junit)

    def interrupt(self) -> None:
        """End it at once, from another thread: `outcomes` then raises WorkshopError.

        Services that the checks were given may be stopped by this: start them before the next run.
        """
        self.interrupted = True
        self.process.kill()

    def outcomes(self, tell, note=_quiet, limit=1800.0, begins=_quiet, say=_quiet) -> list[Outcome]:
        """See `run`."""
        late = threading.Event()
        overdue = threading.Timer(limit, lambda: (late.set(), self._stop()))
        overdue.daemon = True  # Ctrl-C may come before the block that cancels it
        overdue.start()
        hear = {"note": note, "say": say}
        try:
            outcomes = _collect(self.wanted, _heard(self.events), tell, begins, hear)
            self.process.join()
        finally:
            overdue.cancel()
            self._stop()
            self.events.close()
            if end_leftovers(self.mark):
                note("left processes behind")
        if late.is_set():
            note(f"was stopped after {limit:.0f} s")
            message = f"did: ran all checks\ngot: no end after {limit:.0f} s\nexpected: an end"
            return [outcomes.get(c.id) or Outcome(c, False, message) for c in self.wanted]
        missing = [check.id for check in self.wanted if check.id not in outcomes]
        if missing or self.process.exitcode not in (0, 1):
            raise WorkshopError(
                f"The checks could not run (no word of {missing[0] if missing else 'their end'}): "
                f"see {self.log.relative_to(ROOT)}."
            )
        return [outcomes[check.id] for check in self.wanted]

    def _stop(self) -> None:
        """Let the checks stop what they started; if they do not, end them."""
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)
            self.process.join(30)
            self.process.kill()
            self.process.join()


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


def _heard(events):
    """What the checks say, until they end."""
    while True:
        try:
            yield json.loads(events.recv_bytes())
        except EOFError:
            return


def _collect(wanted, events, tell, begins, hear) -> dict[str, Outcome]:
    """Merge the cases of each check; a check is told once its last case has run."""
    by_id = {check.id: check for check in wanted}
    outcomes: dict[str, Outcome] = {}
    left: dict[str, int] = {}
    clock = time.monotonic()
    for event in events:
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
