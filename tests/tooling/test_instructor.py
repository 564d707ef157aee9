"""The instructor's guide agrees with steps.toml, with the commands and with the mistakes."""

import re
from itertools import pairwise

import pytest

from workshop.checking.mistakes import mistakes
from workshop.paths import ROOT
from workshop.steps import steps

GUIDE = ROOT / "docs" / "instructor.md"
TEXT = GUIDE.read_text()
STEPS = [pytest.param(s, id=s.folder) for s in steps()]


def part(step) -> str:
    """What the guide says of one step."""
    found = re.search(rf"^## Step {step.number}: .*?(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


@pytest.mark.parametrize(
    "title, minutes", [("Half a day", "minutes_half_day"), ("A full day", "minutes")]
)
def test_timetable_adds_up_and_gives_each_step_its_minutes(title, minutes):
    rows = timetable(title)
    for (begins, length, _), (next_begins, _, _) in pairwise(rows):
        assert begins + length == next_begins
    *parts, (_, total, end) = rows
    assert end == "**End**"
    assert total == sum(length for _, length, _ in parts)
    planned = [(what, length) for _, length, what in parts if what.startswith("Step")]
    assert planned == [(f"Step {s.number}: {s.title}", getattr(s, minutes)) for s in steps()]


def timetable(title: str) -> list[tuple[int, int, str]]:
    """When each part begins in minutes since midnight, how many it takes, and what it is."""
    text = re.search(rf"^### {title}.*?(?=^#|^[A-Z])", TEXT, re.DOTALL | re.MULTILINE)[0]
    rows = re.findall(r"^\| (\d\d):(\d\d) \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    return [(int(h) * 60 + int(m), int(length), what) for h, m, length, what in rows]


def test_minutes_of_each_level_are_those_of_the_manifest():
    for step in steps():
        production = step.minutes_production or "–"
        assert f"| {step.number} {step.title} | {step.minutes} | {production} |" in TEXT


def test_half_a_day_is_three_hours_and_shorter_in_every_step():
    assert timetable("Half a day")[-1][1] == 180
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
    named = re.findall(r"make \w+\s(\d)\sM=(\w+)", part(step))
    assert len(named) >= 3
    assert {int(number) for number, _ in named} == {step.number}
    assert {name for _, name in named} <= {m.name for m in mistakes(step.number)}


def test_files_that_are_named_exist():
    paths = set(re.findall(r"`((?:step0\d_\w+|tests)/[\w./]+)`", TEXT))
    assert paths
    assert all((ROOT / path).exists() for path in paths)
