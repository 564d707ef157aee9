"""Marking: what one submission does harms no other, and is named."""

import csv
from pathlib import Path

import pytest

from workshop.checking import marking
from workshop.errors import WorkshopError
from workshop.steps import step

ONLY = [step(1).checks[id] for id in ("root_tells_the_step", "product_is_one_row")]
STRAY = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True)\n"
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
    submit(folder / "forked" / "work", "step01_basic", app)
    (folder / "empty").mkdir()
    return {m.name: m for m in marking.mark(step(1), folder, only=ONLY)}


def submit(folder: Path, name: str, app: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "app.py").write_text(app)
    for common in ("api.py", "shop.py"):
        (folder / name / common).write_text((step(1).path / common).read_text())


def test_right_work_passes_beside_all_others(marks):
    assert {name for name, m in marks.items() if m.verdict == "pass"} == {"right", "forked"}


@pytest.mark.parametrize(
    "name, note",
    [("strays", "left processes"), ("prints", "printed"), ("empty", "holds no app.py")],
)
def test_harm_is_named(marks, name, note):
    assert note in "; ".join(marks[name].notes)


def test_work_that_crashes_fails_every_check(marks):
    assert len(marks["crashes"].failing) == len(ONLY)


def test_work_that_hangs_is_stopped_and_fails_every_check(tmp_path):
    app = (step(1).path / "app.py").read_text()
    submit(tmp_path, "hangs", app.replace("def index():\n", "def index():\n    sleep(1000)\n"))
    mark = marking.mark_one(step(1), tmp_path / "hangs", limit=10, only=ONLY)
    assert len(mark.failing) == len(ONLY)
    assert mark.notes == ["was stopped after 10 s"]


def test_dropped_tables_fail_the_one_who_dropped_them(marks):
    assert marks["drops"].failing == ["GET /products/<id> is the row of that product"]


def test_table_and_page_hold_no_formula_and_no_markup(tmp_path):
    evil = marking.Mark("=HYPERLINK(1)<script>", 2)
    table, page = marking.write([evil], step(1), tmp_path)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0]["submission"] == "'=HYPERLINK(1)<script>"
    assert "<script>" not in page.read_text()


def test_no_submissions_is_a_sentence(tmp_path):
    with pytest.raises(WorkshopError, match="holds no folder"):
        marking.mark(step(1), tmp_path)
    with pytest.raises(WorkshopError, match="no folder"):
        marking.mark(step(1), tmp_path / "nowhere")
