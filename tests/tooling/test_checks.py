"""Every step passes its checks; every mistake is caught by exactly those that it names.

A step is checked with the checks of all steps up to it, and the step before with its own, which
all must fail. A mistake meets the checks that it names and a few others of its step, which must
pass; with THOROUGH=1 it meets all checks up to its step, which takes ten times as long. What a
learner is then shown is stored beside the mistake; UPDATE_TRANSCRIPTS=1 stores it after a change.
"""

import compileall
import os
import random
import re
from dataclasses import replace

import click
import pytest

from workshop.checking import report, runner
from workshop.checking.mistakes import FOLDER, apply, mistakes
from workshop.steps import checks_up_to, steps

THOROUGH = bool(os.environ.get("THOROUGH"))
OTHERS = 3  # checks of its step that a mistake doesn't name and must pass


@pytest.mark.parametrize("step", steps(), ids=lambda s: s.folder)
def test_step_passes_all_checks_up_to_its_own(step, services):
    failed = [o for o in runner.run(step.number, step.path, services=[services]) if not o.passed]
    assert not failed, "\n\n".join(f"{o.check.id}\n{o.message}" for o in failed)


@pytest.mark.parametrize("step", steps()[1:], ids=lambda s: s.folder)
def test_step_before_fails_every_check_of_the_step_by_assertion(step, services):
    own = list(step.checks.values())
    found = runner.run(step.number, step.before.path, own, services=[services])
    assert [o.check.id for o in found if o.passed] == []
    assert [o.check.id for o in found if not o.by_assertion] == []


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda m: f"{m.step.folder}-{m.name}")
def test_mistake_is_caught_by_the_checks_it_names(mistake, services, tmp_path):
    app = apply(mistake, tmp_path / mistake.step.folder)
    compileall.compile_dir(app, quiet=1)  # once, not at each start
    outcomes = runner.run(mistake.step.number, app, met(mistake), services=[services])
    failed = [outcome for outcome in outcomes if not outcome.passed]
    assert {outcome.check.id for outcome in failed} == mistake.fails
    assert all(outcome.by_assertion for outcome in failed)
    shown = masked("\n\n".join(map(transcribed, failed))) + "\n"
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        mistake.transcript.write_text(shown)
    assert mistake.transcript.exists(), "run once with UPDATE_TRANSCRIPTS=1"
    assert shown == mistake.transcript.read_text()


def met(mistake) -> list:
    """The checks that a mistake meets: the same ones in each run, and others for each mistake."""
    known = checks_up_to(mistake.step.number)
    if THOROUGH:
        return known
    others = [id for id in mistake.step.checks if id not in mistake.fails]
    chosen = {*mistake.fails, *random.Random(mistake.name).sample(others, min(OTHERS, len(others)))}
    return [check for check in known if check.id in chosen]


def transcribed(outcome) -> str:
    """The failure without the app's traceback, which depends on the versions of libraries."""
    return report.failure(replace(outcome, trace=[]))


def masked(text: str) -> str:
    """The text without colours, line breaks inside of a sentence, and varying numbers.

    Which further cases of a check fail may vary too: a slow machine lets one pass now and then.
    """
    plain = re.sub(r"\n {13}", " ", click.unstyle(text))
    return re.sub(r"# more cases?: .*", "# more cases", re.sub(r"\d+(\.\d+)?", "#", plain))


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
