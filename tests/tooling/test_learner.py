"""The learner's way: work is laid once and never lost, hints go from nudge to nearly there."""

import json
import threading

import pytest

from workshop.checking.runner import Outcome
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.steps import step


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work and progress in a folder of the test's own."""
    monkeypatch.setattr(learner, "WORK", tmp_path / "work")
    monkeypatch.setattr(progress, "FILE", tmp_path / "state" / "progress.json")
    return tmp_path


def test_start_lays_the_step_before_and_a_task():
    folder = learner.start(step(2))
    for name in ("app.py", "api.py", "shop.py"):
        assert (folder / name).read_text() == (step(1).path / name).read_text()
    task = (folder / "TASK.md").read_text()
    for check in step(2).checks.values():
        assert check.title in task
    for name in ("app.py", "server.py"):
        assert f"`{name}`" in task
    assert "alternatives/" not in task  # not the learner's to write


def test_start_never_overwrites_work():
    folder = learner.start(step(2))
    (folder / "app.py").write_text("mine")
    with pytest.raises(WorkshopError, match="is there already"):
        learner.start(step(2))
    assert (folder / "app.py").read_text() == "mine"


def test_an_interrupted_start_is_not_taken_for_work():
    half = learner.WORK / "step02_gevent.new"
    half.mkdir(parents=True)
    (half / "app.py").write_text("half")
    folder = learner.start(step(2))
    assert (folder / "app.py").read_text() != "half"


def test_reset_keeps_the_old_work_beside():
    folder = learner.start(step(2))
    (folder / "app.py").write_text("mine")
    old = learner.reset(step(2))
    assert (old / "app.py").read_text() == "mine"
    assert (folder / "app.py").read_text() != "mine"
    assert (learner.reset(step(2)) / "app.py").exists()


def test_checks_look_at_the_work_once_there_is_some():
    assert learner.app_of(step(2), None) == step(2).path
    folder = learner.start(step(2))
    assert learner.app_of(step(2), None) == folder
    with pytest.raises(WorkshopError, match=r"no app\.py"):
        learner.app_of(step(2), "no-such-folder")


def test_reset_forgets_what_the_checks_said_of_the_old_work():
    learner.start(step(2))
    progress.record(2, [Outcome(c, passed=True) for c in step(2).checks.values()])
    learner.reset(step(2))
    kept = progress.read()["2"]
    assert "passed" not in kept
    assert "finished" in kept  # the solution may still be seen


def test_only_code_is_compared():
    assert learner.code(step(2).path) == {"api.py", "app.py", "server.py", "shop.py"}


def test_hints_are_about_the_first_failing_check_and_end():
    checks = list(step(2).checks.values())
    progress.record(2, [Outcome(c, passed=c is not checks[1]) for c in checks])
    # The report of the failed check has shown its first hint.
    given = [learner.next_hint(step(2)) for _ in range(3)]
    assert given == [(checks[1], 2, True), (checks[1], 3, True), (checks[1], 3, False)]
    assert learner.next_hint(step(2), checks[0].id) == (checks[0], 1, True)
    assert progress.read()["2"]["asked"] == 3


def test_hints_are_there_after_success_too():
    checks = list(step(2).checks.values())
    progress.record(2, [Outcome(c, passed=True) for c in checks])
    assert learner.next_hint(step(2)) == (checks[0], 1, True)


def test_hints_of_a_step_that_was_never_checked_begin_with_its_own_checks():
    checks = list(step(3).checks.values())
    assert learner.next_hint(step(3)) == (checks[0], 1, True)


def test_a_lesson_without_a_task_still_gives_a_task(monkeypatch):
    monkeypatch.setattr(learner, "section", lambda step, heading: "")
    task = learner.task(step(3))
    assert step(3).technique in task
    assert "step03_pooling/README.md" in task


def test_progress_that_cannot_be_read_is_put_aside(elsewhere):
    file = elsewhere / "state" / "progress.json"
    file.parent.mkdir()
    file.write_text('{"2": {"passed": ["waits_')
    progress.record(2, [])
    assert json.loads(file.read_text())["2"]["failed"] == []
    assert "waits_" in file.with_suffix(".unreadable").read_text()


def test_progress_survives_a_crash_in_the_middle_of_a_write(elsewhere, monkeypatch):
    progress.record(2, [])
    before = progress.read()
    monkeypatch.setattr(progress.json, "dump", lambda value, handle, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        progress.record(3, [])
    assert progress.read() == before


def test_progress_of_two_terminals_is_kept(elsewhere):
    def add():
        for _ in range(20):
            with progress.of_step(2) as kept:
                kept["n"] = kept.get("n", 0) + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert progress.read()["2"]["n"] == 80
