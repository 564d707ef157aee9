"""The report of the checks: readable at any number of checks, in 80 columns, counts at the end."""

import click
import pytest

from workshop.checking import report
from workshop.checking.runner import Outcome
from workshop.paths import ROOT
from workshop.steps import checks_up_to, step, steps

MESSAGE = "did: GET /\ngot: 500 text/html: {}\nexpected: 200"


def shown(number: int, capsys, failed=()) -> str:
    """The report of a run in which the checks with these ids failed, each in its own way."""
    outcomes = [
        Outcome(check, check.id not in failed, MESSAGE.format(check.id))
        for check in checks_up_to(number)
    ]
    told = report.Report(step(number), ROOT / "work" / "x")
    told.begin()
    for outcome in outcomes:
        told.begins(outcome.check)
        told.outcome(outcome)
    told.end(outcomes, "The next hint: make hint 2")
    return click.unstyle(capsys.readouterr().out)


@pytest.mark.parametrize("number", [s.number for s in steps()])
def test_report_ends_with_the_counts_and_fits_80_columns(number, capsys):
    text = shown(number, capsys)
    total = len(checks_up_to(number))
    assert text.splitlines()[-1] == f"{total} passed, 0 failed"
    assert max(map(len, text.splitlines())) <= report.WIDTH


def test_steps_before_take_one_line_each(capsys):
    lines = shown(5, capsys).splitlines()
    assert len(lines) < len(step(5).checks) + 12
    assert lines[1].count("✓") == len(step(1).checks)


def test_failures_are_whole_with_a_hint_and_passes_are_not(capsys):
    failed = list(step(2).checks)[:2]
    text = shown(2, capsys, failed)
    for id in failed:
        check = step(2).checks[id]
        assert text.count(f"✗ {check.title}") == 2  # in the list, and whole
        assert f"got        500 text/html: {id}" in text
        assert check.hints[0].split()[0] in text
    assert text.splitlines()[-1].endswith("passed, 2 failed")
    assert "The next hint" in text


def test_a_failure_of_an_earlier_step_is_marked_in_its_line_and_told_whole(capsys):
    text = shown(2, capsys, ["product_is_one_row"])
    assert text.splitlines()[1].count("✗") == 1
    assert text.count("✗ GET /products/<id> is the row of that product") == 1


def test_failures_that_are_alike_are_told_once():
    checks = checks_up_to(5)
    groups = report.alike([Outcome(check, False, MESSAGE) for check in checks])
    assert len(groups) == 1
    assert f"{len(checks) - 1} more checks fail in the same way" in report.failures(groups[0])


def test_very_many_failures_are_not_all_told_whole(capsys):
    text = shown(5, capsys, [check.id for check in checks_up_to(5)])
    assert text.count("\n  did  ") == report.WHOLE
    assert f"… and {len(checks_up_to(5)) - report.WHOLE} more" in text


def test_titles_fit_a_line():
    assert [c.title for c in checks_up_to(5) if len(c.title) > 76] == []
