"""Check again on every save: what failed comes first, and the screen shows one failure whole."""

import os
import queue
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import get_terminal_size

import click
import watchfiles

from workshop.checking import report, runner
from workshop.checking.outcome import Observer, Outcome, ids
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import shown
from workshop.services import Services, private
from workshop.steps import Step
from workshop.target import Target

Action = Callable[[list[str]], None]
# File systems that tell of no changes: network drives, Windows's under WSL, those of virtual
# machines.
SILENT = ("nfs", "cifs", "smb", "9p", "fuse", "drvfs", "vboxsf", "afp", "virtiofs", "prl_fs")
KEYS = "save: check again   h: hint   d: diff to the finished step   q: quit"


class Watch(Observer):
    """Watches one app folder for one step, until q or Ctrl-C.

    `actions` says what other keys do; each is called with the ids of the checks that failed last.
    """

    def __init__(self, step: Step, folder: Path, actions: Mapping[str, Action] = {}):
        self.step, self.folder, self.actions = step, folder, actions
        self.target = Target.of(folder)
        self.mine = learner.is_own(step, folder)
        kept = progress.read().get(str(step.number), {}) if self.mine else {}
        self.failed: list[str] = kept.get("failed", [])
        self.running: runner.Run | None = None
        self._outcomes: list[Outcome] = []
        self._events: queue.Queue[str] = queue.Queue()
        self._stopping = threading.Event()
        self._listening = threading.Event()  # for keys: not while an action has the terminal

    def run(self) -> None:
        """Raises WorkshopError where the services cannot start."""
        first = private(log=click.echo, scram_iterations=1)
        with first as services, ExitStack() as stack, ThreadPoolExecutor(runner.LANES) as aside:
            lanes = [private(scram_iterations=1) for _ in range(runner.LANES - 1)]
            ready = [aside.submit(lambda: services)]
            ready += [aside.submit(stack.enter_context, lane) for lane in lanes]
            stack.enter_context(_keys(self._hear, self._listening))
            threading.Thread(target=self._watch_files, daemon=True).start()
            event = "save"
            try:
                while event != "q":
                    if event == "save":
                        used = self._check(ready)
                        ready = [
                            aside.submit(_prepare, used[job]) if job in used else job
                            for job in ready
                        ]
                    elif event in self.actions:
                        self._act(event)
                    event = self._events.get()
            except KeyboardInterrupt:  # an end like q
                click.echo()
            finally:
                self._stopping.set()
                for job in ready:
                    job.result()

    def _hear(self, event: str) -> None:
        """Take a key or a save; both may come while the checks run."""
        if event in ("save", "q", *self.actions):
            self._events.put(event)
            if event in ("save", "q") and self.running:
                self.running.interrupt()

    def _act(self, key: str) -> None:
        self._listening.clear()
        try:
            self.actions[key](self.failed)
        finally:
            self._listening.set()
        click.echo(f"\n{KEYS}")

    def _watch_files(self) -> None:
        polling = needs_polling(self.folder)
        for _ in watchfiles.watch(
            self.folder,
            force_polling=polling,
            stop_event=self._stopping,
            step=50,
            debounce=200,
        ):
            self._hear("save")

    def _check(self, ready: list[Future[Services]]) -> dict[Future[Services], Services]:
        """Failing checks first; ends at the next save. Returns the services that were used."""
        while not self._events.empty() and self._events.queue[0] == "save":
            self._events.get()  # saves until now are in what is checked now
        wait(ready, return_when=FIRST_COMPLETED)
        services = {job: job.result() for job in ready if job.done()}
        checks = runner.in_order(self.step.number, self.failed)
        self._outcomes, self._total = [], len(checks)
        click.clear()
        click.secho(f"Checking {self._name} ({self._total} checks) …", bold=True)
        run = runner.Run(self.step.number, self.target, checks, list(services.values()))
        self.running = run
        try:
            outcomes = run.outcomes(self)
        except WorkshopError as error:
            if not run.interrupted:
                click.secho(f"✗ {error}", fg="red")
            return services
        finally:
            self.running = None
        if not any(outcome.crashed for outcome in outcomes):
            self._outcomes = outcomes
            passed, self.failed, reasons = ids(outcomes)
            if self.mine:
                progress.record(self.step.number, passed, self.failed, reasons)
        self._draw(done=True)
        return services

    def on_result(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if sys.stdout.isatty():  # elsewhere nothing can be drawn over
            self._draw()

    def on_crash(self, outcome: Outcome) -> None:
        self._outcomes = [outcome]
        self._draw()

    @property
    def _name(self) -> str:
        return shown(self.folder)

    def _draw(self, done: bool = False) -> None:
        """What passes in one line, the first failure whole, the others by title as room is left."""
        failed = [outcome for outcome in self._outcomes if not outcome.passed]
        passing = sum(outcome.counts_as_passed for outcome in self._outcomes)
        click.clear()
        passed = click.style(f"✓ {passing} pass", fg="green")
        click.echo(f"{click.style(self._name, bold=True)}  {passed}  ", nl=False)
        click.echo("" if done else f"{len(self._outcomes)} of {self._total} checks run …")
        if failed:
            whole = report.failure(failed[0])
            click.echo(f"\n{whole}\n")
            self._list(failed[1:], room=get_terminal_size().lines - whole.count("\n") - 9)
        if later := sum(bool(outcome.waits_for) for outcome in self._outcomes):
            click.secho(f"○ {later} not reached yet, until the first failures are mended", dim=True)
        if done:
            click.secho("" if failed else "\nAll checks pass.\n", fg="green", bold=True)
            if self.mine and self._outcomes and not self._outcomes[0].crashed:
                click.echo(report.next_command(self.step, self._outcomes))
            click.echo(KEYS)

    @staticmethod
    def _list(failed: list[Outcome], room: int) -> None:
        """The titles of these failures, no more than keep the first one on the screen."""
        listed = failed if len(failed) <= room else failed[: max(0, room - 1)]
        for outcome in listed:
            click.secho(f"✗ {outcome.check.title}", fg="red")
        if rest := len(failed) - len(listed):
            click.secho(f"✗ … and {rest} more", fg="red")


def _prepare(services: Services) -> Services:
    """Make all ready for the next save: services that an interrupted run stopped, and a database
    without orders."""
    services.start(lambda text: None)
    services.fresh_database()
    return services


def needs_polling(folder: Path) -> bool:
    """Whether the file system of the folder tells of no changes."""
    import psutil

    if os.environ.get("WATCHFILES_FORCE_POLLING"):
        return True
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    nearest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return bool(nearest and nearest.fstype.lower().startswith(SILENT))


@contextmanager
def _keys(hear: Callable[[str], None], listening: threading.Event) -> Iterator[None]:
    """Hand on single key presses while `listening` is set, where there is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)  # keys without Enter; Ctrl-C still works

    def read() -> None:
        while True:
            listening.wait()
            if not select.select([terminal], [], [], 0.1)[0] or not listening.is_set():
                continue
            if not (key := os.read(terminal, 1)):
                return
            hear(key.decode(errors="replace"))

    listening.set()
    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
