"""What a step, a check or a mistake still lacks: `make dev-check` prints it, a test wants it empty.

Each finding is one sentence that begins with the file to edit.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from workshop.checking.mistakes import FOLDER as MISTAKES
from workshop.checking.mistakes import Mistake, mistakes
from workshop.errors import WorkshopError
from workshop.paths import ROOT
from workshop.steps import CHECKS, Step, checks_up_to, steps

LEVELS = ("core", "production")
HINTS = 3  # at least: a nudge, a direction, nearly the answer
FIELDS = ("mistake", "why", "attempt", "look", "fails")


def findings() -> Iterator[str]:
    """Everything that is missing, step by step."""
    for step in steps():
        yield from _files(step)
        yield from _changes(step)
        yield from _checks(step)
        yield from _mistakes(step)
    yield from _orphans()


def test_file(step: Step) -> Path:
    """The file with the step's checks, whether it is there or not."""
    return CHECKS / f"test_{step.folder}.py"


def code_files(step: Step) -> dict[str, Path]:
    """The step's files by their path inside the step, without its lesson."""
    found = (path for path in step.path.rglob("*") if path.is_file())
    return {
        str(path.relative_to(step.path)): path
        for path in found
        if "__pycache__" not in path.parts and path.name != "README.md"
    }


def _files(step: Step) -> Iterator[str]:
    wanted = [step.path / "app.py", step.path / "README.md", test_file(step)]
    notebook = f"notebooks/{step.folder.removeprefix('step')}.ipynb"
    for path in [*wanted, ROOT / notebook]:
        if not path.exists():
            yield f"{path.relative_to(ROOT)}: step {step.number} needs this file."
    for path in step.path.rglob("*.py"):
        for name in _imports(path):
            if re.match(r"workshop|step0|tests", name):
                yield f"{path.relative_to(ROOT)}: a step must stand alone, but it imports {name}."


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _changes(step: Step) -> Iterator[str]:
    """Whether steps.toml names exactly the files that differ from the step before."""
    if step.before is None:
        return
    # alternatives/ is an aside of its step: the next step goes on without it.
    old = {n: p for n, p in code_files(step.before).items() if not n.startswith("alternatives/")}
    new = code_files(step)
    differ = {
        name
        for name in old.keys() | new.keys()
        if name not in old or name not in new or old[name].read_bytes() != new[name].read_bytes()
    }
    for name in sorted(differ - set(step.changes)):
        yield f"steps.toml: name {name} among the changes of step {step.number}, or undo it."
    for name in sorted(set(step.changes) - differ):
        yield f"steps.toml: {name} doesn't change in step {step.number}."
    listed = _lesson_part(step, "Files changed")
    for name in step.changes:
        if name not in listed:
            yield f"{step.folder}/README.md: name {name} under “Files changed”."


def _lesson_part(step: Step, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)^## ", _lesson(step), re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def _lesson(step: Step) -> str:
    lesson = step.path / "README.md"
    return lesson.read_text() if lesson.exists() else ""


def _checks(step: Step) -> Iterator[str]:
    described = f"tests/checks/step{step.number:02}.toml"
    for check in step.checks.values():
        if not check.title:
            yield f"{described}: {check.id} needs a title."
        if check.level not in LEVELS:
            yield f"{described}: the level of {check.id} must be core or production."
        if len(set(check.hints)) < HINTS:
            yield f"{described}: {check.id} needs {HINTS} different hints."
        for needed in check.needs:
            if needed not in step.checks or (check.level, step.checks[needed].level) == LEVELS:
                yield f"{described}: {check.id} can't need {needed}, of another step or level."
    yield from _hints(step, described)
    written = _test_functions(step)
    for name in sorted(written - set(step.checks)):
        yield f"{described}: describe {name}, which {test_file(step).name} has."
    for name in sorted(set(step.checks) - written):
        yield f"tests/checks/{test_file(step).name}: write test_{name}, which {described} names."
    proven = {check for mistake in mistakes() for check in mistake.fails}
    for name in sorted(set(step.checks) - proven):
        yield f"tests/mistakes/: {name} needs a mistake that it catches."


def _hints(step: Step, described: str) -> Iterator[str]:
    """Whether the hints for expectations and the expectations that ask for them match."""
    written = {key for check in step.checks.values() for key in check.hint_for}
    code = "".join(path.read_text() for path in CHECKS.glob("*.py"))
    for key in sorted(written):
        if not re.search(rf'"{key}"', code):
            yield f"{described}: no check asks for the hint {key}."
    file = test_file(step)
    asked = set(re.findall(r'hint="(\w+)"', file.read_text())) if file.exists() else set()
    for key in sorted(asked - written):
        yield f"{described}: write the hint {key}, which {file.name} asks for."


def _test_functions(step: Step) -> set[str]:
    file = test_file(step)
    body = ast.parse(file.read_text()).body if file.exists() else []
    names = (node.name for node in body if isinstance(node, ast.FunctionDef))
    return {name.removeprefix("test_") for name in names if name.startswith("test_")}


def _mistakes(step: Step) -> Iterator[str]:
    known = {check.id for s in steps() for check in checks_up_to(s.number)}
    named = set(re.findall(rf"make mistake {step.number} M=(\w+)", _lesson(step)))
    try:
        made = mistakes(step.number)
    except WorkshopError as error:
        yield str(error)
        return
    for mistake in made:
        yield from _mistake(mistake, known)
        if mistake.name not in named:
            command = f"make mistake {step.number} M={mistake.name}"
            yield f"{step.folder}/README.md: name the mistake, with `{command}`."
    for name in sorted(named - {mistake.name for mistake in made}):
        yield f"{step.folder}/README.md: names the mistake {name}, which isn't there."


def _mistake(mistake: Mistake, known: set[str]) -> Iterator[str]:
    place = mistake.path.relative_to(ROOT)
    for name in FIELDS:
        if not getattr(mistake, name):
            yield f"{place}: the header lacks the field {name}."
    for name in sorted(mistake.fails - known):
        yield f"{place}: names the check {name}, which doesn't exist."
    if not mistake.transcript.exists():
        yield (
            f"{mistake.transcript.relative_to(ROOT)}: is missing; "
            "UPDATE_TRANSCRIPTS=1 with the mistake's test writes it."
        )


def _orphans() -> Iterator[str]:
    patches = {path.with_suffix("") for path in MISTAKES.rglob("*.patch")}
    for path in sorted(MISTAKES.rglob("*.txt")):
        if path.with_suffix("") not in patches:
            yield f"{path.relative_to(ROOT)}: is the transcript of no mistake; remove it."
