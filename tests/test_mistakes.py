"""Every mistake is caught by exactly the checks that it names, in the words that are stored.

A mistake meets the checks of its own step and those that it names; with THOROUGH=1 those of all
steps before it too, which takes three times as long.
To store the words again after a change: UPDATE_TRANSCRIPTS=1 with this file's tests.
"""

import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from workshop.checking import report, runner
from workshop.checking.mistakes import FOLDER, apply, mistakes
from workshop.steps import checks_up_to, steps

THOROUGH = bool(os.environ.get("THOROUGH"))
SIDE_BY_SIDE = int(os.environ.get("SIDE_BY_SIDE", "3"))  # the checks wait more than they work
ALL = [pytest.param(m, id=f"{m.step.folder}-{m.name}") for m in mistakes()]


@pytest.fixture(scope="session")
def outcomes(request):
    """Runs the checks on every selected mistake, a few side by side, from the first test on."""
    selected = [
        item.callspec.params["mistake"]
        for item in request.session.items
        if item.originalname == "test_mistake_is_caught_by_the_checks_it_names"
    ]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as runners:
        futures = {mistake.path: runners.submit(_check, mistake) for mistake in selected}
        yield lambda mistake: futures[mistake.path].result()
        runners.shutdown(cancel_futures=True)


def _check(mistake):
    with tempfile.TemporaryDirectory() as folder:
        app = apply(mistake, Path(folder) / mistake.step.folder)
        return runner.run(mistake.step.number, app, only=_met_by(mistake))


def _met_by(mistake):
    number = mistake.step.number
    return [
        check
        for check in checks_up_to(number)
        if THOROUGH or check.step == number or check.id in mistake.fails
    ]


@pytest.mark.parametrize("mistake", ALL)
def test_mistake_is_caught_by_the_checks_it_names(mistake, outcomes):
    failed = [outcome for outcome in outcomes(mistake) if not outcome.passed]
    assert {outcome.check.id for outcome in failed} == mistake.fails
    assert all(outcome.by_assertion for outcome in failed)
    shown = masked("\n\n".join(report.failure(outcome) for outcome in failed)) + "\n"
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        mistake.transcript.write_text(shown)
    assert mistake.transcript.exists(), "run once with UPDATE_TRANSCRIPTS=1"
    assert shown == mistake.transcript.read_text()


def masked(text: str) -> str:
    """The text without colours, line breaks inside of a sentence, and varying numbers."""
    plain = re.sub(r"\n {13}", " ", click.unstyle(text))
    return re.sub(r"\d+(\.\d+)?", "#", plain)


def test_every_check_is_proven_by_a_mistake():
    for step in steps():
        proven = {check for mistake in mistakes() for check in mistake.fails}
        assert set(step.checks) <= proven, f"no mistake fails these checks of {step.folder}"


def test_every_mistake_names_checks_that_exist():
    known = {check for step in steps() for check in step.checks}
    for mistake in mistakes():
        assert mistake.fails <= known, f"{mistake.name} names a check that does not exist"


def test_no_transcript_is_left_without_its_mistake():
    transcripts = {path.with_suffix("") for path in FOLDER.rglob("*.txt")}
    assert transcripts <= {path.with_suffix("") for path in FOLDER.rglob("*.patch")}
