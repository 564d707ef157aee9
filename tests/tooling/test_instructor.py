"""The instructor's guide agrees with steps.toml, with the commands and with the mistakes."""

import re

import pytest

from workshop.__main__ import COMMANDS
from workshop.checking.mistakes import mistakes
from workshop.learning.timetable import GUIDE, renewed, timetables
from workshop.paths import ROOT
from workshop.steps import steps

TEXT = GUIDE.read_text()
TIMETABLES = [pytest.param(t, id=t.title) for t in timetables()]
STEPS = [pytest.param(s, id=s.folder) for s in steps()]


def part(step) -> str:
    """What the guide says of one step."""
    found = re.search(rf"^## Step {step.number}: .*?(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


def test_timetables_are_those_of_the_manifest():
    assert renewed(TEXT) == TEXT, "run: .venv/bin/python -m workshop timetable"


@pytest.mark.parametrize("table", TIMETABLES)
def test_timetable_adds_up(table):
    assert sum(item.minutes for item in table.items) == table.total
    for before, after in zip(table.items, table.items[1:], strict=False):
        assert before.begins + before.minutes == after.begins


@pytest.mark.parametrize("table", TIMETABLES)
def test_timetable_has_every_step_once_and_in_order(table):
    named = [re.match(r"Step (\d)", item.what) for item in table.items]
    assert [int(match[1]) for match in named if match] == [s.number for s in steps()]


def test_half_a_day_is_three_hours_and_shorter_in_every_step():
    assert timetables()[0].total == 180
    assert all(s.minutes_half_day <= s.minutes for s in steps())


@pytest.mark.parametrize("step", STEPS)
def test_each_step_has_what_a_teacher_needs(step):
    text = part(step)
    assert text.startswith(f"## Step {step.number}: {step.title}\n")
    for word in ("Goal", "Mistakes worth showing", "Questions", "Where classes get stuck",
                 "Catch up", "Late?"):  # fmt: skip
        assert f"**{word}" in text, word
    for bullet in ("Note", "Ask", "Demo"):
        assert f"**{bullet}**" in text, bullet
    assert "*Expected*" in text
    assert "*Common*" in text


@pytest.mark.parametrize("step", STEPS)
def test_mistakes_that_are_named_exist_and_belong_to_the_step(step):
    named = re.findall(r"N=(\d) M=(\w+)", part(step))
    assert len(named) >= 3
    assert {int(number) for number, _ in named} == {step.number}
    assert {name for _, name in named} <= {m.name for m in mistakes(step.number)}


def test_commands_that_are_named_exist():
    named = set(re.findall(r"`(?:[A-Z_]+=\w+ )*make ([a-z][a-z-]*)", TEXT))
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
    assert "timetable" in COMMANDS["teach"]


def test_files_that_are_named_exist():
    links = set(re.findall(r"\]\(([\w./-]+)\)", TEXT))
    assert all((GUIDE.parent / link).exists() for link in links)
    paths = set(re.findall(r"`((?:step0\d_\w+|tests)/[\w./]+)`", TEXT))
    assert paths
    assert all((ROOT / path).exists() for path in paths)
