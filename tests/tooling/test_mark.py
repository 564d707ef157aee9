"""Marking: what one submission does harms no other, and is named."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from workshop.checking import marking
from workshop.cli.check import mark
from workshop.errors import WorkshopError
from workshop.steps import step

ONLY = [step(1).checks[id] for id in ("root_tells_the_step", "product_is_one_row")]
# Told apart from what another run of these tests may have started on this machine.
SLEEP = f"sleep({600 + os.getpid() / 1e7:.7f})"
STRAY = (
    "import subprocess, sys\n"
    f"subprocess.Popen([sys.executable, '-c', 'import time; time.{SLEEP}'],"
    " start_new_session=True)\n"
)
HIDE = STRAY.replace("start_new_session=True", "start_new_session=True, env={}")
# What a submission can reach of those that check the others: all that runs as the same user, here
# whatever pytest process or forkserver is among its own ancestors.
KILL = (
    "import os, psutil, signal\n"
    "for ancestor in psutil.Process().parents():\n"
    "    if 'workshop.checking.marking' in ' '.join(ancestor.cmdline()):\n"
    "        ancestor.kill()\n"
    "        break\n"
    "    ancestor.kill()\n"
)
DROP = (
    "    from sqlalchemy import text\n"
    "    shop.db.session.execute(text('DROP TABLE IF EXISTS orders, products, users CASCADE'))\n"
    "    shop.db.session.commit()\n"
)


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """The marks of one submission of each kind, by name."""
    folder = tmp_path_factory.mktemp("submissions")
    app = (step(1).path / "app.py").read_text()
    inside = "def index():\n"
    submit(folder, "right", app)
    submit(folder, "crashes", "raise SystemExit('no')\n")
    submit(folder, "strays", STRAY + app)
    submit(folder, "drops", app.replace(inside, inside + DROP))
    submit(folder, "prints", app.replace(inside, inside + "    print('x' * 20_000_000)\n"))
    submit(folder, "hides", HIDE + app)
    submit(folder, "kills", KILL + app)
    submit(folder, "pipes", app)
    os.mkfifo(folder / "pipes" / "pipe")
    submit(folder, "nests", app)
    nest(folder / "nests", 1500)
    submit(folder, "fills", app)
    (folder / "fills" / "big").touch()
    os.truncate(folder / "fills" / "big", marking.MAX_BYTES + 1)
    submit(folder, os.fsdecode(b"latin-\xe9\t\x1b]0;title\x07"), app)
    submit(folder / "forked" / "work", "step01_basic", app)
    (folder / "empty").mkdir()
    yield {m.name: m for m in marking.mark(step(1), folder, only=ONLY)}
    subprocess.run(["rm", "-rf", folder / "nests"], check=True)  # too deep for pytest to remove


def nest(folder: Path, depth: int) -> None:
    """Folders in folders, deeper than a path can be long."""
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.fchdir(before)
        os.close(before)


def submit(folder: Path, name: str, app: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "app.py").write_text(app)
    for common in ("api.py", "shop.py"):
        (folder / name / common).write_text((step(1).path / common).read_text())


def test_right_work_passes_beside_all_others(marks):
    passed = {name for name, m in marks.items() if m.verdict == "pass"}
    assert passed == {"right", "forked", r"latin-\xe9\t\x1b]0;title\x07"}


@pytest.mark.parametrize(
    "name, note",
    [
        ("strays", "left processes"),
        ("hides", "left processes"),
        ("prints", "printed"),
        ("empty", "holds no app.py"),
        ("kills", "the process that checks it ended"),
        ("pipes", "holds pipe, which is neither a file nor a folder"),
        ("nests", "holds more than"),
        ("fills", "holds more than"),
    ],
)
def test_harm_is_named(marks, name, note):
    assert note in "; ".join(marks[name].notes)


def test_what_could_not_be_checked_has_passed_nothing(marks):
    for name in ("kills", "pipes", "nests", "fills"):
        _, verdict, core, production, *_ = marks[name].row()
        assert verdict == "not checked"
        assert core == production == "unknown"


def test_no_process_is_left(marks):
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if SLEEP in str(p.info)]
    assert not left


def test_command_says_what_could_not_be_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(marking, "write", lambda marks, step: (tmp_path / "csv", tmp_path / "html"))
    submit(tmp_path, "pipes", "")
    os.mkfifo(tmp_path / "pipes" / "pipe")
    done = CliRunner().invoke(mark, ["1", "--dir", str(tmp_path)])
    assert "not checked" in done.output
    assert "Not checked: pipes" in str(done.exception)


def test_work_that_crashes_fails_every_check(marks):
    assert len(marks["crashes"].failing) == len(ONLY)


def test_work_that_hangs_is_stopped_and_fails_every_check(tmp_path):
    app = (step(1).path / "app.py").read_text()
    submit(tmp_path, "hangs", app.replace("def index():\n", "def index():\n    sleep(1000)\n"))
    found = marking.mark_one(step(1), tmp_path / "hangs", limit=10, only=ONLY)
    assert len(found.failing) == len(ONLY)
    assert found.notes == ["was stopped after 10 s"]


def test_a_pass_that_says_nothing_yet_earns_nothing(tmp_path):
    app = shutil.copytree(step(5).path, tmp_path / "refuses")
    source = (app / "app.py").read_text()
    login = "return auth.login(username, password)"
    (app / "app.py").write_text(source.replace(login, 'abort(401, "Invalid credentials")'))
    only = [step(5).checks[id] for id in ("wrong_login_is_a_401", "stored_hash_is_no_password")]
    found = marking.mark_one(step(5), app, only=only)
    assert found.row()[2] == "0 of 2"


def test_dropped_tables_fail_the_one_who_dropped_them(marks):
    assert marks["drops"].failing == {"product_is_one_row"}


def test_table_and_page_hold_no_formula_and_no_markup(tmp_path):
    evil = marking.Mark("=HYPERLINK(1)<script>", ONLY)
    table, page = marking.write([evil], step(1), tmp_path)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0]["submission"] == "'=HYPERLINK(1)<script>"
    assert "<script>" not in page.read_text()


def test_no_submissions_is_a_sentence(tmp_path):
    with pytest.raises(WorkshopError, match="holds no folder"):
        marking.mark(step(1), tmp_path)
    with pytest.raises(WorkshopError, match="no folder"):
        marking.mark(step(1), tmp_path / "nowhere")
