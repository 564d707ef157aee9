"""Run the checks of a step, and of the steps before it, against a target.

Checks run side by side, in lanes that share nothing. Each lane takes the next check from one queue
whenever it is free.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from workshop.checking.leftovers import MARK, end_leftovers, new_mark
from workshop.checking.outcome import Observer, Outcome
from workshop.checking.session import Lane
from workshop.errors import WorkshopError
from workshop.files import raise_open_files_limit
from workshop.paths import ROOT, STATE
from workshop.services import Services
from workshop.steps import Check, checks_up_to
from workshop.steps import step as find_step
from workshop.target import Target

NOT_PASSED_ON = {
    "DATABASE_URL", "REDIS_URL", "HOST", "PORT", "JWT_SECRET", "JWT_SECRET_PREVIOUS",
    "PYTHONDONTWRITEBYTECODE",
}  # fmt: skip
LIMIT = 1800.0  # seconds for a run
LANES = min(3, (os.cpu_count() or 1) + 1)  # Checks wait more than they compute.
BYTECODE = STATE / "bytecode"  # what the apps under check import, compiled


def in_order(number: int, failed: Collection[str] = ()) -> list[Check]:
    """The checks up to step `number`, those first that a learner waits for.

    The ids in `failed`, which failed last time, come first, then the step's own checks, the core
    before the rest, then the steps before, back to the first.
    """

    def urgency(check: Check) -> tuple[bool, int, bool]:
        return check.id not in failed, -check.step, check.step == number and check.level != "core"

    return sorted(checks_up_to(number), key=urgency)


def run(
    number: int,
    target: Target | Path,
    checks: Sequence[Check] | None = None,
    observer: Observer | None = None,
    services: Sequence[Services] = (),
    lanes: int = LANES,
    limit: float = LIMIT,
) -> list[Outcome]:
    """Run checks for step `number`, and return their outcomes in the order of `checks`.

    `target` is what is checked, a folder or a URL; `checks` are those up to the step unless they
    are given. The checks run on `services`, a lane for each of them, or else in so many `lanes`
    that start services of their own. After `limit` seconds the run is stopped, and what has not
    run has failed. Raises WorkshopError where the checks could not run.
    """
    return Run(number, target, checks, services, lanes, limit).outcomes(observer or Observer())


class Run:
    """One run of the checks; `outcomes` follows it to its end. Parameters as for `run`."""

    def __init__(
        self,
        number: int,
        target: Target | Path,
        checks: Sequence[Check] | None = None,
        services: Sequence[Services] = (),
        lanes: int = LANES,
        limit: float = LIMIT,
    ):
        self.step = find_step(number)
        self.target = target if isinstance(target, Target) else Target.of(target)
        self.checks = list(in_order(number) if checks is None else checks)
        self.limit = limit
        self.log = STATE / "checks.log"
        self.mark = new_mark()
        self.interrupted = False
        self.lanes: list[Lane] = []
        self._queue = deque(c for c in self.checks if c.id not in self.target.not_applicable)
        self._to_open: list[Services | None] = [*services] or [None] * lanes
        self._found: dict[str, Outcome] = {}
        self._unclear: list[Outcome] = []  # passes whose needs are still being checked
        raise_open_files_limit()

    def interrupt(self) -> None:
        """End it at once, from another thread: `outcomes` then raises WorkshopError.

        Services that the checks were given may be stopped by this: start them before the next run.
        """
        self.interrupted = True
        self._kill()

    def hand_out_no_more(self) -> None:
        """Let the checks under way end, and clean up, but begin none: called by an observer."""
        under_way = {lane.check.id for lane in self.lanes if lane.check}
        self.checks = [c for c in self.checks if c.id in self._found or c.id in under_way]
        self._queue.clear()

    def outcomes(self, observer: Observer) -> list[Outcome]:
        """See `run`."""
        for check in self.checks:
            if reason := self.target.not_applicable.get(check.id):
                self._settle(Outcome(check, True, not_applicable=reason), observer)
        self._forget_bytecode()  # what a killed run left
        try:
            self._follow(observer)
        except BaseException:
            self._stop()
            raise
        finally:
            if self.interrupted:
                self._kill()
            for lane in self.lanes:
                lane.end()
            if end_leftovers(self.mark):
                observer.on_warning("left processes behind")
            self._forget_bytecode()
        if missing := [check.id for check in self.checks if check.id not in self._found]:
            raise WorkshopError(
                f"The checks could not run ({missing[0]} gave no result): "
                f"see {self.log.relative_to(ROOT)}."
            )
        return [self._found[check.id] for check in self.checks]

    def _follow(self, observer: Observer) -> None:
        """Hand out the checks and take in their outcomes, until all lanes have ended."""
        deadline = time.monotonic() + self.limit
        working = self._open_lane()
        while working and not self.interrupted:
            left = max(0.0, deadline - time.monotonic())
            speaking = wait([lane.connection for lane in working], timeout=left)
            if not speaking:
                return self._end_late(observer)
            for lane in [lane for lane in working if lane.connection in speaking]:
                event = lane.receive()
                if event is None:
                    working.remove(lane)
                elif "crash" in event and lane.check:
                    return self._end_crashed(event["crash"], lane.check, observer)
                else:
                    self._take(event, lane, observer)
                    working += self._open_lane() if "ready" in event else []
        return None

    def _forget_bytecode(self) -> None:
        """Python takes a file that was saved twice within a second, at the same size, for the same:
        each run compiles the app itself again."""
        if self.target.folder:
            shutil.rmtree(bytecode_of(self.target.folder), ignore_errors=True)

    def _take(self, event: dict, lane: Lane, observer: Observer) -> None:
        if "log" in event:
            if lane is self.lanes[0]:  # the others prepare the same
                observer.log(event["log"])
        elif "warning" in event:
            observer.on_warning(event["warning"])
        elif "result" in event and lane.check:
            self._settle(Outcome(lane.check, **event["result"]), observer)
        if "ready" in event or "result" in event:
            lane.run(self._queue.popleft() if self._queue else None)
            if lane.check:
                observer.on_start(lane.check)

    def _settle(self, outcome: Outcome, observer: Observer) -> None:
        """Pass on the outcome, and those that waited for it, once what each needs is known."""
        self._unclear.append(outcome)
        while clear := [o for o in self._unclear if self._is_clear(o)]:
            for settled in clear:
                self._unclear.remove(settled)
                if settled.passed and not settled.not_applicable:
                    settled.waits_for = self._missing(settled)
                self._found[settled.check.id] = settled
                observer.on_result(settled)

    def _is_clear(self, outcome: Outcome) -> bool:
        open_ids = {check.id for check in self.checks} - self._found.keys()
        return not outcome.passed or open_ids.isdisjoint(outcome.check.needs)

    def _missing(self, outcome: Outcome) -> Check | None:
        """The first check that this one needs and that failed, or isn't reached itself."""
        needed = [self._found[id] for id in outcome.check.needs if id in self._found]
        return next((o.waits_for or o.check for o in needed if o.waits_for or not o.passed), None)

    def _open_lane(self) -> list[Lane]:
        """The next lane, while there is one to open and a check for it."""
        if not self._queue or not self._to_open:
            return []
        services = self._to_open.pop(0)
        environment = _environment(self.mark)
        lane = Lane(self.checks, environment, self.log, self.step, self.target, services)
        self.lanes.append(lane)
        return [lane]

    def _end_crashed(self, crash: dict, check: Check, observer: Observer) -> None:
        outcome = Outcome(check, False, crashed=True, **crash)
        self._end_with(outcome)
        observer.on_crash(outcome)

    def _end_late(self, observer: Observer) -> None:
        message = f"did: ran all checks\ngot: no end after {self.limit:.0f} s\nexpected: an end"
        self._end_with(Outcome(self.checks[0], False, message))
        observer.on_warning(f"was stopped after {self.limit:.0f} s")

    def _end_with(self, outcome: Outcome) -> None:
        """Stop, and give this outcome to each check that has none."""
        self._stop()
        for check in self.checks:
            self._found.setdefault(check.id, replace(outcome, check=check))

    def _stop(self) -> None:
        for lane in self.lanes:
            lane.interrupt()

    def _kill(self) -> None:
        for lane in self.lanes:
            lane.process.kill()


def bytecode_of(folder: Path) -> Path:
    """Where Python keeps what it compiles of this folder."""
    return BYTECODE / folder.resolve().relative_to("/")


def _environment(mark: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in NOT_PASSED_ON}
    return kept | {
        MARK: mark,
        # Nothing of ours in the folder that is checked, and packages are compiled only once.
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the checks need none, and start quicker
    }
