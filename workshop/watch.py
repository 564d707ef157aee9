"""Check again on every save: what failed comes first, and the screen shows one failure whole."""

import contextlib
import os
import queue
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import click
import watchfiles

from workshop import checking, learner, progress, report
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.services import private
from workshop.steps import Step, checks_up_to

NETWORK = ("nfs", "cifs", "smb", "9p", "fuse", "drvfs", "vboxsf", "afp")  # tell of no changes


class Watch:
    """Watches one app folder for one step, until q or Ctrl-C."""

    def __init__(self, step: Step, folder: Path):
        self.step, self.folder = step, folder
        self.events: queue.Queue[str] = queue.Queue()
        self.failed: list[str] = progress.read().get(str(step.number), {}).get("failed", [])
        self.stopping = threading.Event()

    def run(self) -> None:
        """Raises WorkshopError where the services cannot start."""
        click.echo("Starting PostgreSQL and Valkey for the checks …")
        with private() as services, _keys(self.events):
            threading.Thread(target=self._watch_files, daemon=True).start()
            event = "save"
            while event != "q":
                if event == "save":
                    self._check(services)
                elif event == "h":
                    self._hint()
                elif event == "d" and self.step.before:
                    _show_diff(self.folder, self.step)
                event = self.events.get()
            self.stopping.set()

    def _watch_files(self) -> None:
        polling = needs_polling(self.folder)
        for _ in watchfiles.watch(
            self.folder, force_polling=polling, stop_event=self.stopping, step=50, debounce=200
        ):
            self.events.put("save")

    def _check(self, services) -> None:
        """Failing checks first; ends at the next save."""
        services.start(lambda text: None)  # a run that was cut short may have stopped one
        services.fresh_database()
        wanted = sorted(checks_up_to(self.step.number), key=self._urgency)
        click.clear()
        click.secho(f"Checking {_shown(self.folder)} … ({len(wanted)} checks)", bold=True)
        outcomes: list[checking.Outcome] = []

        def tell(outcome: checking.Outcome) -> None:
            outcomes.append(outcome)
            self._draw(outcomes, len(wanted))
            if not self.events.empty():
                raise _Interrupted

        try:
            checking.run(self.step.number, self.folder, wanted, tell, services=services)
        except _Interrupted:
            return
        except WorkshopError as error:
            click.secho(f"✗ {error}", fg="red")
            return
        self.failed = [o.check.id for o in outcomes if not o.passed]
        if self.folder == learner.folder(self.step):
            progress.record(self.step.number, outcomes)
        self._draw(outcomes, len(wanted), done=True)

    def _urgency(self, check) -> tuple[bool, bool]:
        return check.id not in self.failed, check.step != self.step.number

    def _draw(self, outcomes: list[checking.Outcome], total: int, done: bool = False) -> None:
        """What passes in one line, the other failures by title, the first one whole."""
        failed = [o for o in outcomes if not o.passed]
        click.clear()
        click.secho(_shown(self.folder), bold=True, nl=False)
        click.echo(f"  {len(outcomes)} of {total} checks run")
        click.secho(f"✓ {len(outcomes) - len(failed)} pass", fg="green")
        for outcome in failed[1:]:
            click.secho(f"✗ {outcome.check.title}", fg="red")
        if failed:
            click.echo("\n" + report.failure(failed[0]))
        elif done:
            click.secho("\nAll checks pass.", fg="green", bold=True)
        if done:
            click.echo("\nsave: check again   h: hint   d: diff to the finished step   q: quit")

    def _hint(self) -> None:
        try:
            check, index = learner.next_hint(self.step, *self.failed[:1])
        except WorkshopError as error:
            click.echo(str(error))
            return
        click.echo(f"\n{check.title}\nHint {index + 1}: {check.hints[index]}")


class _Interrupted(Exception):
    """The learner saved again: this run is out of date."""


def _show_diff(folder: Path, step: Step) -> None:
    from workshop.commands.learn import compare

    compare(folder, step.path)


def needs_polling(folder: Path) -> bool:
    """Whether the file system does not tell of changes: WSL's Windows drives, network drives."""
    import psutil

    if os.environ.get("WATCHFILES_FORCE_POLLING"):
        return True
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    nearest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return bool(nearest and nearest.fstype.lower().startswith(NETWORK))


@contextlib.contextmanager
def _keys(events: queue.Queue) -> Iterator[None]:
    """Put single key presses into `events`, where there is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)  # keys without Enter; Ctrl-C still works

    def read() -> None:
        while key := sys.stdin.read(1):
            events.put(key)

    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
