"""The report of the checks: readable at any number of checks, in 80 columns, counts at the end."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import click
import pytest

from workshop.checking import junit, report
from workshop.checking.outcome import Outcome, ids, with_other_cases
from workshop.checking.runner import in_order
from workshop.paths import ROOT
from workshop.steps import checks_up_to, step, steps
from workshop.target import Target

MESSAGE = "did: GET /\ngot: 500 text/html: {}\nexpected: 200"


def shown(number: int, capsys, failed=(), failed_before=(), order=lambda outcomes: outcomes) -> str:
    """The report of a run in which the checks with these ids failed, each in its own way."""
    checks = in_order(number, failed_before)
    outcomes = [Outcome(c, c.id not in failed, MESSAGE.format(c.id)) for c in checks]
    printed = report.Report(step(number), Target.of(ROOT / "work" / "x"), checks, failed_before)
    printed.begin()
    for outcome in order(outcomes):
        printed.on_start(outcome.check)
        printed.on_result(outcome)
    printed.end(outcomes, "The next hint: make hint 2")
    return click.unstyle(capsys.readouterr().out)


@pytest.mark.parametrize("number", [s.number for s in steps()])
def test_report_ends_with_the_counts_and_fits_80_columns(number, capsys):
    text = shown(number, capsys)
    total = len(checks_up_to(number))
    assert text.splitlines()[-1].startswith(f"{total} passed, 0 failed (step {number}: core ")
    assert max(map(len, text.splitlines())) <= report.WIDTH


def test_steps_before_take_one_line_each(capsys):
    lines = shown(5, capsys).splitlines()
    assert len(lines) < len(step(5).checks) + 13
    first = next(line for line in lines if line.startswith("Step 1"))
    assert first.count("✓") == len(step(1).checks)


def test_outcomes_that_come_in_any_order_are_reported_in_one(capsys):
    assert shown(3, capsys, order=lambda outcomes: outcomes[::-1]) == shown(3, capsys)


def test_core_comes_before_production_and_what_failed_last_time_before_both(capsys):
    first, *_, last = step(2).checks
    failed = [first, last]
    lines = shown(2, capsys, failed_before=failed).splitlines()
    heads = [line for line in lines if not line.startswith(" ") and line][1:]
    assert heads[:4] == [
        f"{what}{end}"
        for what in ("Failed last time", f"Step 2: {step(2).title}")
        for end in ("", ", for production")
    ]
    assert [lines[2].strip("✓ "), lines[4].strip("✓ ")] == [
        c.title for id in failed for c in checks_up_to(2) if c.id == id
    ]


def test_failures_are_whole_with_a_hint_and_passes_are_not(capsys):
    failed = list(step(2).checks)[:2]
    text = shown(2, capsys, failed)
    for id in failed:
        check = step(2).checks[id]
        assert text.count(f"✗ {check.title}") == 2  # in the list, and whole
        assert f"got        500 text/html: {id}" in text
        assert check.hints[0].split()[0] in text
        assert f"\n  id         {id}\n" in text  # by which TASK.md, the lesson and CHECK= name it
    assert "passed, 2 failed (step 2: core 2 of 4, " in text.splitlines()[-1]
    assert "The next hint" in text


def test_what_failed_for_production_is_whole_once_the_core_passes(capsys):
    core, *_, production = step(2).checks
    both = shown(2, capsys, [core, production])
    assert f"got        500 text/html: {core}" in both
    assert f"got        500 text/html: {production}" not in both
    assert "… and 1 production check, marked ✗ above. The core comes first." in both
    later = shown(2, capsys, [production])
    assert f"got        500 text/html: {production}" in later
    assert "The core of step 2 passes. This is left for production:" in later


def test_a_failure_of_an_earlier_step_is_marked_in_its_line_and_told_whole(capsys):
    text = shown(2, capsys, ["product_is_one_row"])
    assert next(x for x in text.splitlines() if x.startswith("Step 1")).count("✗") == 1
    assert text.count("✗ GET /products/<id> returns the product's row") == 1


def outcomes_of(number, *failed):
    return [Outcome(check, check.id not in failed) for check in in_order(number)]


def test_after_a_run_the_next_command_is_named():
    checks = list(step(2).checks.values())
    core = [check.id for check in checks if check.level == "core"]
    rest = [check.id for check in checks if check.level != "core"]
    red = report.next_command(step(2), outcomes_of(2, *core[:2]))
    assert red == f"The next hint: make hint 2\nFor another check: make hint 2 CHECK={core[1]}"
    assert report.next_command(step(2), outcomes_of(2, core[0])) == "The next hint: make hint 2"
    passed = report.next_command(step(2), outcomes_of(2, *rest))
    assert "A hint for the rest: make hint 2\nNext: make start 3" in passed
    assert report.next_command(step(1), outcomes_of(1)) == "Next: make start 2"
    assert "make solution 2.  Next: make start 3" in report.next_command(step(2), outcomes_of(2))
    assert "make start" not in report.next_command(step(5), outcomes_of(5))


def test_failures_that_are_alike_are_told_once():
    checks = checks_up_to(5)
    groups = report.alike([Outcome(check, False, MESSAGE) for check in checks])
    assert len(groups) == 1
    assert f"{len(checks) - 1} more checks fail in the same way" in report.failures(groups[0])


def test_the_error_of_an_app_is_shown_to_its_end():
    trace = ["app.py, line 3, in index", "    raise " + 80 * "x", "ValueError: " + 30 * "word "]
    text = report.failure(Outcome(checks_up_to(2)[0], False, MESSAGE, trace=trace))
    assert text.count("word") == 30
    assert max(map(len, click.unstyle(text).splitlines()[1:])) <= report.WIDTH


def test_very_many_failures_are_not_all_told_whole(capsys):
    text = shown(5, capsys, [check.id for check in checks_up_to(5)])
    assert text.count("\n  did  ") == report.WHOLE
    core = [check for check in checks_up_to(5) if check.level == "core"]
    assert f"… and {len(core) - report.WHOLE} more, marked ✗" in text


def test_titles_fit_a_line():
    assert [c.title for c in checks_up_to(5) if len(c.title) > 76] == []


def test_an_app_that_does_not_start_is_one_failure_without_a_hint(capsys):
    crash = Outcome(
        step(2).checks["waits_overlap"],
        False,
        "did: started x/server.py\ngot: exit code 1",
        trace=["app.py, line 3", "    def (", "SyntaxError: invalid syntax"],
        crashed=True,
    )
    checks = in_order(2)
    printed = report.Report(step(2), Target.of(ROOT / "work" / "x"), checks)
    printed.on_crash(crash)
    text = click.unstyle(capsys.readouterr().out)  # at once: before the run has stopped its servers
    assert text.count("✗") == 1
    assert "✗ The app doesn't start" in text
    assert "error      app.py, line 3" in text
    assert "hint" not in text
    printed.end([replace(crash, check=check) for check in checks])
    text = click.unstyle(capsys.readouterr().out)
    assert "✗" not in text
    assert text.splitlines()[-1] == f"The app doesn't start: 0 of {len(checks)} checks ran"


def test_a_pass_that_says_nothing_yet_is_neither_passed_nor_failed(capsys, tmp_path):
    login, refused, *rest = in_order(5)
    outcomes = [Outcome(login, False, MESSAGE), Outcome(refused, True, waits_for=login)]
    outcomes += [Outcome(check, True) for check in rest]
    printed = report.Report(step(5), Target.of(ROOT / "work" / "x"), [o.check for o in outcomes])
    for outcome in outcomes:
        printed.on_result(outcome)
    printed.end(outcomes)
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert f"  ○ {refused.title}" in lines
    assert f"Not reached yet: {refused.title}" in lines
    assert lines[-1].startswith(f"{len(rest)} passed, 1 failed, 1 not reached yet (")
    junit.write(outcomes, tmp_path / "report.xml")
    assert f"not reached yet: {login.id} fails" in (tmp_path / "report.xml").read_text()
    assert ids(outcomes)[:2] == ([check.id for check in rest], [login.id])


def test_the_hint_is_that_of_the_expectation_that_failed():
    check = replace(step(2).checks["waits_overlap"], hint_for={"late": "Look at the clock."})
    assert "Look at the clock." in report.failure(Outcome(check, False, MESSAGE, hint="late"))
    for hint in ("", "unknown"):
        text = report.failure(Outcome(check, False, MESSAGE, hint=hint))
        assert check.hints[0].split()[0] in text
        assert "Look at the clock." not in text


def test_what_is_made_ready_takes_a_line_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    check = in_order(2)[0]
    printed = report.Report(step(2), Target.of(ROOT / "work" / "x"), [check])
    printed.on_start(check)
    printed.log("Starting Valkey …")
    lines = re.split(r"\r(?:\033\[K)?|\n", capsys.readouterr().out)
    running = f"  … {check.title}"
    shown = [line for line in lines if line]
    assert shown == [f"Step 2: {step(2).title}", running, "Starting Valkey …", running]


def test_other_cases_are_named_until_that_is_too_much():
    assert with_other_cases("did: x", []) == "did: x"
    assert (
        with_other_cases("did: x", ["a list", "null"]) == "did: x\nalso: 2 more cases: a list, null"
    )
    many = with_other_cases("did: x", [f"case {number}" for number in range(100)])
    assert "also: 100 more cases: case 0, case 1, " in many
    assert re.search(r"case \d+ and \d+ more$", many)
    assert len(many) < 350


def test_what_does_not_apply_is_counted_apart(capsys):
    checks = in_order(2)
    outcomes = [
        Outcome(c, True, not_applicable="needs its process" * (c.step == 2)) for c in checks
    ]
    printed = report.Report(step(2), Target.at("http://127.0.0.1:8002"), checks)
    for outcome in outcomes:
        printed.on_result(outcome)
    printed.end(outcomes)
    text = click.unstyle(capsys.readouterr().out)
    own = len(step(2).checks)
    assert f"{len(checks) - own} passed, 0 failed, {own} not applicable" in text
    assert "because    needs its process" in text


def test_junit_xml_holds_every_outcome(tmp_path):
    checks = checks_up_to(2)
    outcomes = [Outcome(check, True) for check in checks]
    outcomes[0] = Outcome(checks[0], False, MESSAGE)
    outcomes[1] = Outcome(checks[1], True, not_applicable="needs its process")
    junit.write(outcomes, tmp_path / "folder" / "report.xml")
    suite = ElementTree.parse(tmp_path / "folder" / "report.xml").find("testsuite")  # noqa: S314
    assert [case.get("name") for case in suite] == [check.id for check in checks]
    counts = [suite.get(name) for name in ("tests", "failures", "skipped")]
    assert counts == [str(len(checks)), "1", "1"]
    assert MESSAGE in suite[0].find("failure").text
