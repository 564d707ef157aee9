"""Wrong answers that look right are caught: each fails a check of its step or of the steps before.

They were written without a look at the checks. Each patch in tests/answers/wrong/ begins with
lines that say what is `Wrong:` and its `Class:`, and then which check it is `Caught by:`, which
is asked first, or why it `Passes:`. They measure how much the checks see of what nobody named to
them; unlike the named mistakes they have no lesson and no transcript.
"""

import compileall
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from workshop.checking.mistakes import patch
from workshop.checking.mutants import first_failure
from workshop.checking.runner import in_order
from workshop.paths import ROOT
from workshop.steps import Step, steps

FOLDER = ROOT / "tests/answers/wrong"
CLASSES = {
    "every route, every method, every way to bring a token",
    "what the client must never decide",
    "across processes",
    "who may use what is given back or cleared",
    "two commands where one is needed",
    "settings are obeyed and defaults are safe",
    "time",
    "cost",
    "state between requests",
    "draining",
    "other hidden channels",
    "what a server must refuse",
    "orders exactly once",
}
LIMIT = 600  # seconds for one answer


@dataclass(frozen=True)
class WrongAnswer:
    """One patch to a finished step, and what the lines before it say."""

    step: Step
    path: Path
    said: dict[str, str]

    def lay(self, target: Path) -> Path:
        """Copy the step to `target` and make it wrong; returns the folder."""
        shutil.copytree(self.step.path, target, ignore=shutil.ignore_patterns("__pycache__"))
        patch(target, self.path)
        compileall.compile_dir(target, quiet=1)
        return target


def read(step: Step, path: Path) -> WrongAnswer:
    header = path.read_text().split("\ndiff --git ", 1)[0]
    return WrongAnswer(step, path, dict(re.findall(r"^(\w[\w ]*): (.+)$", header, re.MULTILINE)))


ANSWERS = [read(s, path) for s in steps() for path in sorted((FOLDER / s.folder).glob("*.patch"))]


def name(answer: WrongAnswer) -> str:
    return f"{answer.step.folder}-{answer.path.stem}"


@pytest.mark.thorough
@pytest.mark.parametrize("answer", [a for a in ANSWERS if "Passes" not in a.said], ids=name)
def test_wrong_answer_fails_a_check(answer, services, tmp_path):
    app = answer.lay(tmp_path / answer.step.folder)
    checks = in_order(answer.step.number, failed={answer.said.get("Caught by")})
    failure = first_failure(answer.step, app, services, LIMIT, checks)
    assert failure, "No check notices it."
    assert failure.by_assertion and not failure.crashed, failure.message


@pytest.mark.parametrize("answer", ANSWERS, ids=name)
def test_wrong_answer_says_what_it_is_and_applies(answer, tmp_path):
    assert answer.said["Wrong"].endswith(".")
    assert answer.said["Class"] in CLASSES
    if check := answer.said.get("Caught by"):
        assert check in {check.id for check in in_order(answer.step.number)}
    answer.lay(tmp_path / answer.step.folder)


def test_every_class_has_wrong_answers():
    assert {answer.said["Class"] for answer in ANSWERS} == CLASSES
