"""Watching: a save is noticed and checked, keys are heard, the end leaves nothing behind."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from leftovers import gone

from workshop.checking import runner, watch
from workshop.checking.mistakes import apply, mistake
from workshop.checking.outcome import Observer, Outcome
from workshop.paths import ROOT
from workshop.steps import step

PATIENCE = 300  # seconds for anything to appear, all checks included: the machine may be busy
START = """
import sys
from pathlib import Path
from workshop.learning import progress
progress.FILE = Path(sys.argv.pop(1))  # not the learner's
from workshop.__main__ import main
sys.exit(main())
"""


class Terminal:
    """`python -m workshop watch` in a terminal of its own."""

    def __init__(self, folder, number, progress_file):
        self.fd, inside = pty.openpty()
        words = [str(progress_file), "watch", str(number), "--app", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *words],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k not in ("N", "APP")},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # Ctrl-C reaches it
        )
        os.close(inside)

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def until(self, pattern: str) -> str:
        """All that is printed until the pattern is seen; fails after PATIENCE."""
        seen, deadline = "", time.monotonic() + PATIENCE
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen[-3000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                seen += os.read(self.fd, 65536).decode(errors="replace")
        return seen

    def end(self) -> int:
        """The exit code, once it has ended; what it prints meanwhile is read."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:  # nobody has the other side open any more
                    time.sleep(0.05)
        return self.process.wait(1)


@pytest.fixture
def app(tmp_path):
    """Step 2 with its patching left out."""
    return apply(mistake(2, "unpatched"), tmp_path / "step02_gevent")


@pytest.fixture
def terminal(app, tmp_path):
    opened = Terminal(app, 2, tmp_path / "progress.json")
    yield opened
    if opened.process.poll() is None:
        opened.process.send_signal(signal.SIGTERM)
        opened.end()
    os.close(opened.fd)


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_a_save_is_checked_and_keys_are_heard(terminal, app):
    screen = terminal.until(r"expected +about")
    assert "✗ 20 requests that wait take about as long as one" in screen
    terminal.press("h")  # heard while the checks run, answered after them; the save comes first
    (app / "server.py").write_text((step(2).path / "server.py").read_text())
    saved = time.monotonic()
    screen = terminal.until(r"(?s)Checking .*✓ 1 pass")
    print(f"{time.monotonic() - saved:.1f} s from the save to the first result")
    started = children(terminal.process.pid)
    terminal.press("q")
    assert terminal.end() == 0
    assert gone([process.pid for process in started])


def test_an_app_that_does_not_start_is_one_failure_with_its_place(terminal, app):
    (app / "app.py").write_text("import flask\n\ndef broken(:\n    pass\n")
    screens = terminal.until(r"(?s)The app doesn't start.*q: quit").split("\033[2J")
    first = next(screen for screen in screens if "The app doesn't start" in screen)
    assert "q: quit" not in first  # shown before the run has stopped the app and its servers
    screen = screens[-1]
    assert "app.py, line 3" in screen
    assert screen.count("✗") == 1
    assert "  hint  " not in screen.replace("h: hint", "")
    terminal.press("q")
    assert terminal.end() == 0


def test_many_failures_leave_the_first_one_on_the_screen(monkeypatch, capsys):
    """The others are listed as far as there is room for them."""
    checks = runner.in_order(2)
    watching = watch.Watch(step(2), step(2).path)
    failures = [Outcome(check, False, "did: this\ngot: that\nexpected: more") for check in checks]
    watching._outcomes, watching._total = failures, len(failures)
    monkeypatch.setattr(watch, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    watching._draw(done=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert sum("✗" in line for line in lines[2:]) > 3
    assert any(re.search(r"✗ … and \d+ more", line) for line in lines)


@pytest.mark.thorough  # it waits for a whole run of the checks on an app that fails many
def test_the_difference_is_shown_in_a_pager_that_has_the_keys(terminal):
    terminal.until(r"\d of \d+ checks run(?s:.*)q: quit")
    terminal.press("d")
    terminal.until(r"diff --git")
    terminal.press("q")  # ends the pager, if it still waits
    terminal.press("q")
    assert terminal.end() == 0


def test_what_to_do_next_stands_below_the_failures(tmp_path, capsys):
    watched = watch.Watch(step(2), tmp_path)
    watched.mine = True
    watched._outcomes = [Outcome(check, True) for check in step(2).checks.values()]
    watched._draw(done=True)
    watched._outcomes[0].passed = False
    watched._draw(done=True)
    passed, failed = capsys.readouterr().out.strip().split(watch.KEYS)[:2]
    assert "Next: make start 3" in passed
    assert "The next hint: make hint 2" in failed


def test_ctrl_c_ends_it_and_leaves_nothing(terminal):
    terminal.until(r"\d of \d+ checks run")
    started = children(terminal.process.pid)
    assert started
    terminal.press("\x03")
    assert terminal.end() == 0
    assert gone([process.pid for process in started])


def test_what_failed_comes_first_then_the_step_itself():
    order = [check.id for check in runner.in_order(2, ["unknown_route_is_told"])]
    first = list(step(1).checks)
    second = sorted(step(2).checks, key=lambda id: step(2).checks[id].level)
    first.remove("unknown_route_is_told")
    assert order == ["unknown_route_is_told", *second, *first]


def test_checks_run_in_the_order_asked_for():
    """Back and forth between steps, if need be."""
    second, first = step(2).checks, step(1).checks
    wanted = [
        second["kept_connection_has_no_stall"],
        first["unknown_route_is_told"],
        second["half_a_request_holds_nobody"],
        first["root_tells_the_step"],
    ]
    heard = Heard()
    assert all(o.passed for o in runner.run(2, step(2).path, wanted, heard, lanes=1))
    assert heard.begun == wanted


class Heard(Observer):
    def __init__(self):
        self.begun = []

    def on_start(self, check):
        self.begun.append(check)


@pytest.mark.parametrize(
    "kind, polls",
    [("ext4", False), ("9p", True), ("drvfs", True), ("nfs4", True), ("fuse.sshfs", True)],
)
def test_polls_where_the_file_system_tells_of_no_changes(tmp_path, monkeypatch, kind, polls):
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype=kind),
    ]
    monkeypatch.delenv("WATCHFILES_FORCE_POLLING", raising=False)
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    assert watch.needs_polling(tmp_path / "app") is polls


def test_polling_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    assert watch.needs_polling(tmp_path)
