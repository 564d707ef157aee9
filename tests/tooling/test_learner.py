"""The learner's way: work is copied once and never lost, hints go from nudge to nearly there."""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from workshop.cli import serve
from workshop.cli.learn import _progress_line, hint, progress_, solution
from workshop.errors import WorkshopError
from workshop.learning import learner, progress
from workshop.steps import step


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work and progress in a folder of the test's own."""
    monkeypatch.setattr(learner, "WORK", tmp_path / "work")
    monkeypatch.setattr(progress, "FILE", tmp_path / "state" / "progress.json")
    return tmp_path


def said(command, **settings) -> str:
    """What a command prints; it must not fail."""
    environment = {name: str(value) for name, value in settings.items()}
    run = CliRunner(env=environment).invoke(command, [], standalone_mode=False)
    assert not run.exception, run.exception
    return run.output


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
    for name in step(2).given:
        assert (folder / name).read_text() == (step(2).path / name).read_text()
        assert f"- `{name}`" not in task


def test_start_never_overwrites_work():
    folder = learner.start(step(2))
    (folder / "app.py").write_text("mine")
    with pytest.raises(WorkshopError, match="already exists"):
        learner.start(step(2))
    assert (folder / "app.py").read_text() == "mine"


def test_an_interrupted_start_leaves_nothing_that_looks_like_work(monkeypatch):
    monkeypatch.setattr(learner, "task", lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.start(step(2))
    assert list(learner.WORK.iterdir()) == []


def test_start_and_reset_remove_no_folder_of_the_learners():
    theirs = learner.WORK / "step02_gevent.new"
    theirs.mkdir(parents=True)
    (theirs / "app.py").write_text("mine")
    learner.start(step(2))
    learner.reset(step(2))
    assert (theirs / "app.py").read_text() == "mine"


def test_resets_at_once_lose_nothing():
    folder = learner.start(step(2))
    (folder / "app.py").write_text("mine")
    with ThreadPoolExecutor(8) as pool:
        olds = list(pool.map(learner.reset, [step(2)] * 8))
    assert len(set(olds)) == 8
    assert [(old / "app.py").read_text() for old in olds].count("mine") == 1
    assert (folder / "app.py").read_text() != "mine"


def test_task_says_only_what_is_left_to_do():
    for number in range(2, 6):
        task = learner.task(step(number))
        assert "gunicorn.conf.py" not in task  # the checks pass without it
        assert f"make start {number}" not in task  # it has just run
        for check in step(number).checks.values():
            assert f"`{check.id}`" in task  # for make hint CHECK=id


def test_reset_keeps_the_old_work_under_another_name():
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
    progress.record(2, list(step(2).checks), [])
    learner.reset(step(2))
    kept = progress.read()["2"]
    assert "passed" not in kept
    assert "finished" in kept  # the solution may still be seen


def test_only_code_is_compared():
    assert learner.code(step(2).path) == {
        "api.py",
        "app.py",
        "connection_limit.py",
        "http_guard.py",
        "server.py",
        "shop.py",
    }


def test_hints_are_about_the_first_failing_check_and_end():
    checks = list(step(2).checks.values())
    progress.record(2, [], [checks[1].id])
    # The report of the failed check has shown its first hint.
    given = [learner.next_hint(step(2)) for _ in range(3)]
    assert given == [(checks[1], 2, True), (checks[1], 3, True), (checks[1], 3, False)]
    assert learner.next_hint(step(2), checks[0].id) == (checks[0], 1, True)
    assert progress.read()["2"]["asked"] == 3


def test_the_first_hint_fits_what_failed(monkeypatch):
    check = replace(step(2).checks["waits_overlap"], hint_for={"late": "Look at the clock."})
    monkeypatch.setattr(learner, "checks_up_to", lambda number: [check])
    progress.record(2, [], [check.id], {check.id: "late"})
    shown, count, _ = learner.next_hint(step(2))
    assert shown.hints[:count] == ["Look at the clock.", check.hints[1]]
    progress.record(2, [], [check.id])
    assert learner.next_hint(step(2))[0].hints == check.hints


def test_hints_of_checks_that_passed_are_given_when_named_and_not_counted():
    first = next(iter(step(2).checks.values()))
    progress.record(2, list(step(2).checks), [])
    assert "Every check passed" in said(hint, N=2)
    assert learner.next_hint(step(2), first.id) == (first, 1, True)
    assert "asked" not in progress.read()["2"]


def test_step_1_is_checked_as_it_stands_and_recorded(elsewhere):
    assert learner.is_own(step(1), step(1).path)
    assert not learner.is_own(step(2), step(2).path)
    assert learner.is_own(step(2), learner.folder(step(2)))


def test_step_1_that_is_read_and_checked_leads_to_step_2():
    progress.record(1, list(step(1).checks), [])
    assert "make solution" not in said(hint, N=1)
    assert "make start 2" in said(solution, N=1)
    assert said(progress_).splitlines()[-1] == "Next: make start 2"
    learner.start(step(2))
    assert said(progress_).splitlines()[-1] == "Next: make check 2"


def test_a_step_that_is_served_names_the_learners_copy(monkeypatch):
    served = Mock()
    monkeypatch.setattr(serve, "serve", served)
    monkeypatch.setattr("workshop.services.shared", Mock())
    said(serve.step, N=2)
    assert not served.call_args.kwargs["after"]
    learner.start(step(2))
    said(serve.step, N=2)
    assert "make step 2 APP=" in served.call_args.kwargs["after"][0]


def test_step_is_finished_once_its_core_is_and_stays_so():
    core = next(c.id for c in step(2).checks.values() if c.level == "core")
    progress.record(2, [], [core])
    assert "finished" not in progress.read()["2"]
    progress.record(2, [], [c.id for c in step(2).checks.values() if c.level == "production"])
    assert "finished" in progress.read()["2"]
    progress.record(2, [], [core])  # broken again, to see what happens
    assert "✓" in _progress_line(step(2), progress.read()["2"])


def test_hints_of_a_step_that_was_never_checked_begin_with_its_own_checks():
    checks = list(step(3).checks.values())
    assert learner.next_hint(step(3)) == (checks[0], 1, True)


@pytest.fixture
def with_lesson(tmp_path, monkeypatch):
    """Step 3 with a lesson of the test's own."""

    def lesson(text):
        folder = tmp_path / "step03_pooling"
        shutil.copytree(step(3).path, folder)
        (folder / "README.md").write_text(text)
        monkeypatch.setattr(type(step(3)), "path", property(lambda self: tmp_path / self.folder))
        return learner.task(step(3))

    return lesson


def test_task_quotes_the_objectives_the_contract_and_the_steps_of_the_lesson(with_lesson):
    task = with_lesson(
        "# Step 3\n\n## Objectives\n\n- You can size a pool.\n\n## The problem\n\nIt is slow.\n\n"
        "## The contract\n\n| request | answer |\n\n## Your task\n\n`make start 3` copies it.\n\n"
        "1. Write `pool.py`.\n2. Use it.\n\n## What to observe\n\nLess.\n"
    )
    headings = re.findall(r"^## (.*)", task, re.MULTILINE)
    assert headings == [
        "Objectives", "The contract", "Your task", "Files to edit",
        "Core checks", "Production checks", "Commands",
    ]  # fmt: skip
    for quoted in (
        "- You can size a pool.",
        "| request | answer |",
        "1. Write `pool.py`.\n2. Use it.",
    ):
        assert quoted in task
    for left_out in ("It is slow", "Less", "make start"):
        assert left_out not in task


def test_a_lesson_without_these_headings_still_gives_a_task(with_lesson):
    task = with_lesson("# Step 3\n")
    assert step(3).technique in task
    assert re.findall(r"^## (.*)", task, re.MULTILINE)[0] == "Files to edit"


def test_core_and_production_checks_are_listed_apart():
    core, production = learner.task(step(3)).split("## Production checks")
    for check in step(3).checks.values():
        assert f"- {check.title} (`{check.id}`)" in (core if check.level == "core" else production)


def test_task_quotes_what_the_production_checks_ask_for(with_lesson):
    task = with_lesson(
        "# Step 3\n\n## The contract\n\n| request |\n\n### Settings\n\n| setting |\n\n"
        "## Harden it\n\n### What the production checks ask for\n\n| limit |\n\n### Wait\n\nLess.\n"
    )
    core, production = task.split("## Production checks")
    assert "| request |\n\n### Settings\n\n| setting |" in core
    assert "| limit |" in production
    assert "Less" not in task


def test_links_of_the_lesson_work_in_the_learners_folder(with_lesson):
    task = with_lesson(
        "## The contract\n\n[lease](../docs/glossary.md#lease) [pool](pool.py) [up](#objectives) "
        "[docs](https://example.org/x)\n"
    )
    assert "[lease](../../docs/glossary.md#lease) [pool](../../step03_pooling/pool.py)" in task
    assert "[up](../../step03_pooling/README.md#objectives) [docs](https://example.org/x)" in task


@pytest.mark.parametrize(
    "text",
    [
        '{"2": {"passed": ["waits_',
        "[" * 100_000,
        '{"2": []}',
        '{"2": {"passed": 7}}',
        '{"2": {"failed": [["x"]]}}',
        '{"2": {"hints": {"waits_overlap": "two"}}}',
        '{"2": {"started": "yesterday", "checked": 1}}',
        '{"2": {"finished": NaN, "started": 0}}',
        '{"2": {"runs": null}}',
        "\udcff",
    ],
)
def test_progress_that_makes_no_sense_is_put_aside(elsewhere, text):
    file = elsewhere / "state" / "progress.json"
    file.parent.mkdir()
    file.write_bytes(text.encode(errors="surrogateescape"))
    learner.next_hint(step(2))
    progress.record(2, [], [])
    assert progress.read()["2"]["failed"] == []
    aside = file.with_suffix(".unreadable")
    assert aside.read_bytes() == text.encode(errors="surrogateescape")
    file.write_text("again")
    assert progress.read() == {}
    assert aside.read_bytes() == text.encode(errors="surrogateescape")


def test_folder_in_the_place_of_the_progress_is_put_aside(elsewhere):
    file = elsewhere / "state" / "progress.json"
    (file / "theirs").mkdir(parents=True)
    progress.record(2, [], [])
    assert progress.read()["2"]["failed"] == []
    assert (file.with_suffix(".unreadable") / "theirs").is_dir()


def test_progress_survives_a_crash_in_the_middle_of_a_write(elsewhere, monkeypatch):
    progress.record(2, [], [])
    before = progress.read()
    monkeypatch.setattr(progress.json, "dump", lambda value, handle, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        progress.record(3, [], [])
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
