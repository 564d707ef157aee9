"""Right answers in other designs pass: the checks ask for behaviour, not for our way to get it.

Each folder of tests/answers/right/ has an `answer.toml` (the step that it answers, its design, the
files to `remove`, the checks that it does `without`) and files that are laid over the finished
step, or a `change.patch` to it. An answer meets the checks of its own step, and with THOROUGH=1
those of the steps before too; without, only those marked `quick` are run, one for each step,
because all of them take minutes.
"""

import compileall
import os
import shutil
import tomllib

import pytest

from workshop.checking import runner
from workshop.checking.mistakes import patch
from workshop.paths import ROOT
from workshop.steps import checks_up_to, step

ANSWERS = sorted(path.parent for path in (ROOT / "tests/answers/right").glob("*/answer.toml"))
THOROUGH = bool(os.environ.get("THOROUGH"))


def described(folder) -> dict:
    return tomllib.loads((folder / "answer.toml").read_text())


def case(folder):
    """The answer as a parameter; in the ordinary tests only those marked `quick` are run."""
    marks = [] if described(folder).get("quick") else [pytest.mark.thorough]
    return pytest.param(folder, id=folder.name, marks=marks)


def lay(folder, target):
    """The finished step with the answer laid over it, in the folder `target`."""
    answer = described(folder)
    shutil.copytree(step(answer["step"]).path, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name in answer.get("remove", []):
        (target / name).unlink()
    not_app = shutil.ignore_patterns("answer.toml", "change.patch", "__pycache__")
    shutil.copytree(folder, target, ignore=not_app, dirs_exist_ok=True)
    if (folder / "change.patch").exists():
        patch(target, folder / "change.patch")
    compileall.compile_dir(target, quiet=1)
    return target


@pytest.mark.parametrize("folder", [case(folder) for folder in ANSWERS])
def test_right_answer_is_accepted(folder, services, tmp_path):
    number = described(folder)["step"]
    app = lay(folder, tmp_path / step(number).folder)
    without = described(folder).get("without", [])
    possible = checks_up_to(number) if THOROUGH else list(step(number).checks.values())
    wanted = [check for check in possible if check.id not in without]
    outcomes = runner.run(number, app, wanted, services=[services])
    rejected = [outcome for outcome in outcomes if not outcome.passed]
    assert not rejected, "\n\n".join(f"{o.check.id}\n{o.message}" for o in rejected)


@pytest.mark.parametrize("folder", ANSWERS, ids=lambda f: f.name)
def test_answer_says_what_it_is_and_can_be_laid(folder, tmp_path):
    assert described(folder)["design"].endswith(".")
    app = lay(folder, tmp_path / "app")
    original = step(described(folder)["step"]).path
    files = {path.relative_to(app): path.read_bytes() for path in app.glob("*.py")}
    ours = {path.relative_to(original): path.read_bytes() for path in original.glob("*.py")}
    assert files != ours
