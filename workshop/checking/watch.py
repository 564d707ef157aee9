"""Check again on every save: what failed comes first, and the screen shows one failure whole."""

import contextlib
import os
import queue
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import watchfiles

from workshop.checking import report, runner
from workshop.cli.learn import compare, hints
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.paths import shown
from workshop.services import private
from workshop.steps import Check, Step, checks_up_to

# File systems that tell of no changes: network drives, Windows's under WSL, those of virtual
# machines.
SILENT = ("nfs", "cifs", "smb", "9p", "fuse", "drvfs", "vboxsf", "afp", "virtiofs", "prl_fs")
KEYS = "save: check again   h: hint   d: diff to the finished step   q: quit"


class Watch:
    """Watches one app folder for one step, until q or Ctrl-C."""

    def __init__(self, step: Step, folder: Path):
        self.step, self.folder = step, folder
        self.mine = learner.is_own(step, folder)
        kept = progress.read().get(str(step.number), {}) if self.mine else {}
        self.failed: list[str] = kept.get("failed", [])
        self.events: queue.Queue[str] = queue.Queue()
        self.running: runner.Run | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        """Raises WorkshopError where the services cannot start."""
        servers = private(say=click.echo, scram_iterations=1)
        with servers as services, _keys(self._hear), ThreadPoolExecutor(1) as aside:
            ready = aside.submit(self._prepare, services)
            threading.Thread(target=self._watch_files, daemon=True).start()
            event = "save"
            try:
                while event != "q":
                    if event == "save":
                        ready.result()
                        self._check(services)
                        ready = aside.submit(self._prepare, services)
                    elif event == "h":
                        self._hint()
                    elif event == "d":
                        compare(self.folder, self.step.path)
                        click.echo(f"\n{KEYS}")
                    event = self.events.get()
            except KeyboardInterrupt:  # an end like q
                click.echo()
            finally:
                self.stopping.set()
                ready.result()

    def _hear(self, event: str) -> None:
        """Take a key or a save; both may come while the checks run."""
        if event in ("save", "q", "h", "d"):
            self.events.put(event)
            if event in ("save", "q") and self.running:
                self.running.interrupt()

    def _watch_files(self) -> None:
        polling = needs_polling(self.folder)
        for _ in watchfiles.watch(
            self.folder, force_polling=polling, stop_event=self.stopping, step=50, debounce=200
        ):
            self._hear("save")

    def _prepare(self, services) -> None:
        """Make all ready for the next save: services that an interrupted run stopped, and a
        database without orders."""
        services.start(lambda text: None)
        services.fresh_database()

    def _check(self, services) -> None:
        """Failing checks first; ends at the next save."""
        while not self.events.empty() and self.events.queue[0] == "save":
            self.events.get()  # saves until now are in what is checked now
        wanted = self.in_order()
        click.clear()
        click.secho(f"Checking {shown(self.folder)} ({len(wanted)} checks) …", bold=True)
        outcomes: list[runner.Outcome] = []

        def tell(outcome: runner.Outcome) -> None:
            outcomes.append(outcome)
            self._draw(outcomes, len(wanted))

        self.running = run = runner.Run(self.step.number, self.folder, wanted, services=services)
        try:
            run.outcomes(tell)
        except WorkshopError as error:
            if not run.interrupted:
                click.secho(f"✗ {error}", fg="red")
            return
        finally:
            self.running = None
        self.failed = [o.check.id for o in outcomes if not o.passed]
        if self.mine:
            progress.record(self.step.number, *runner.ids(outcomes))
        self._draw(outcomes, len(wanted), done=True)

    def in_order(self) -> list[Check]:
        """What failed last comes first, then the checks of the step itself."""

        def urgency(check: Check) -> tuple[bool, bool]:
            return check.id not in self.failed, check.step != self.step.number

        return sorted(checks_up_to(self.step.number), key=urgency)

    def _draw(self, outcomes: list[runner.Outcome], total: int, done: bool = False) -> None:
        """What passes in one line, the other failures by title, the first one whole."""
        if not done and not sys.stdout.isatty():
            return  # nothing can be drawn over
        failed = [o for o in outcomes if not o.passed]
        click.clear()
        passed = click.style(f"✓ {len(outcomes) - len(failed)} pass", fg="green")
        click.echo(f"{click.style(shown(self.folder), bold=True)}  {passed}  ", nl=False)
        click.echo("" if done else f"{len(outcomes)} of {total} checks run …")
        if failed:
            click.echo("\n" + report.failure(failed[0]) + "\n")
        for outcome in failed[1:]:
            click.secho(f"✗ {outcome.check.title}", fg="red")
        if done:
            click.secho("" if failed else "\nAll checks pass.\n", fg="green", bold=True)
            click.echo(KEYS)

    def _hint(self) -> None:
        check, count, new = learner.next_hint(self.step, *self.failed[:1])
        click.echo(f"\n{hints(check, count)}" + ("" if new else "\nThere are no more."))


def needs_polling(folder: Path) -> bool:
    """Whether the file system of the folder tells of no changes."""
    import psutil

    if os.environ.get("WATCHFILES_FORCE_POLLING"):
        return True
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    nearest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return bool(nearest and nearest.fstype.lower().startswith(SILENT))


@contextlib.contextmanager
def _keys(hear: Callable[[str], None]) -> Iterator[None]:
    """Hand on single key presses, where there is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)  # keys without Enter; Ctrl-C still works

    def read() -> None:
        while key := sys.stdin.read(1):
            hear(key)

    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
