"""Guards against drift: between the copies in the steps, the manifest, the texts and the code."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workshop.checking.mistakes import mistakes
from workshop.paths import ROOT
from workshop.steps import CHECKS, steps

STEPS = [pytest.param(s, id=s.folder) for s in steps()]
LATER = STEPS[1:]
TEXTS = [ROOT / "README.md", *ROOT.glob("step0*/README.md"), *ROOT.glob("docs/*.md")]


def files(step) -> dict[str, Path]:
    """The step's files by their path inside of it, without its lesson."""
    found = (path for path in step.path.rglob("*") if path.is_file())
    return {
        str(path.relative_to(step.path)): path
        for path in found
        if "__pycache__" not in path.parts and path.name != "README.md"
    }


@pytest.mark.parametrize("step", STEPS)
def test_step_imports_nothing_of_other_steps_or_the_workshop(step):
    for path in step.path.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if re.match(r"workshop|step0|tests", n)], path


# A part of workshop/ imports from its own floor and from those below it, which come first.
FLOORS = [
    {"errors", "paths", "files", "locks", "urls", "steps"},
    {"services", "setup"},
    {"server", "target", "measuring"},
    {"load", "compare", "limits"},
    {"checking", "learning"},
    {"bench", "lab"},
    {"cli", "__main__"},
]


def imports() -> set[tuple[str, str]]:
    """(importer, imported): which part of workshop/ imports which other, a file or a folder."""
    found = set()
    for path in (ROOT / "workshop").rglob("*.py"):
        here = path.relative_to(ROOT / "workshop").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            parts = [name.split(".") for name in names]
            found |= {(here, part[1]) for part in parts if part[0] == "workshop" and part[1:]}
    return {(here, there) for here, there in found if here != there}


def test_parts_of_the_workshop_import_downwards_only():
    level = {part: number for number, floor in enumerate(FLOORS) for part in floor}
    assert [pair for pair in imports() if level[pair[0]] < level[pair[1]]] == []
    assert [pair for pair in imports() if pair[::-1] in imports()] == []


@pytest.mark.parametrize("step", LATER)
def test_only_files_named_as_changed_differ_from_the_step_before(step):
    # alternatives/ is an aside of its step: the next one goes on without it
    old = {name: p for name, p in files(step.before).items() if "alternatives/" not in name}
    new = files(step)
    differ = {
        name
        for name in old.keys() | new.keys()
        if name not in old or name not in new or old[name].read_bytes() != new[name].read_bytes()
    }
    unnamed = {name for name in differ if name not in step.changes}
    assert not unnamed, f"steps.toml does not name these as changed in {step.folder}"
    assert set(step.changes) == differ, f"steps.toml names files that do not change: {step.folder}"


@pytest.mark.parametrize("step", STEPS)
def test_every_check_has_a_title_and_hints(step):
    for check in step.checks.values():
        assert check.title
        assert check.level in ("core", "production")
        assert len(check.hints) >= 3
        assert len(set(check.hints)) == len(check.hints)


@pytest.mark.parametrize("step", STEPS)
def test_manifest_and_check_file_name_the_same_checks(step):
    source = next(CHECKS.glob(f"test_step{step.number:02}_*.py"))
    found = {
        node.name.removeprefix("test_")
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert found == set(step.checks)


@pytest.mark.parametrize("step", STEPS)
def test_lesson_names_the_files_that_change(step):
    lesson = (step.path / "README.md").read_text()
    part = re.search(r"^## Files changed\n(.*?)^## ", lesson, re.DOTALL | re.MULTILINE)
    assert part, "the lesson has no part called Files changed"
    for name in step.changes:
        assert name in part[1], f"{name} is not named under Files changed"


@pytest.mark.parametrize("step", STEPS)
def test_lesson_names_every_mistake(step):
    lesson = (step.path / "README.md").read_text()
    named = set(re.findall(rf"make mistake N={step.number} M=(\w+)", lesson))
    assert named == {mistake.name for mistake in mistakes(step.number)}


@pytest.mark.parametrize("text", [pytest.param(t, id=str(t.relative_to(ROOT))) for t in TEXTS])
def test_every_make_command_in_a_text_exists(text):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"```.*?```|`[^`\n]+`", text.read_text(), re.DOTALL)
    commands = {m for block in code for m in re.findall(r"\bmake ([a-z][a-z-]*)", block)}
    assert commands <= targets


def test_every_mistake_has_its_header_and_one_patch():
    for mistake in mistakes():
        assert mistake.mistake.endswith(".")
        assert mistake.why.endswith(".")
        assert mistake.look
        assert mistake.attempt


def test_what_to_try_with_a_mistake_can_be_pasted_into_a_shell():
    for mistake in mistakes():
        command = mistake.attempt.format(url="http://127.0.0.1:8001")
        done = subprocess.run(["sh", "-n", "-c", command], stderr=subprocess.PIPE, check=False)
        assert not done.stderr, f"{mistake.name}: {command}"
        first, assigns = re.match(r"\(?(\w+)(=?)", command).groups()
        assert assigns or first in ("for", "time") or shutil.which(first), (
            f"{mistake.name}: {command}"
        )
        assert not re.search(", then |; and: ", command), f"{mistake.name}: {command}"
        assert "pgrep" not in command, f"{mistake.name}: it hits any program of that name"


def test_no_path_of_a_machine_and_no_address_of_an_index_is_committed():
    pattern = r"/(root|home/[a-z]+|Users/[a-z]+)/|--(extra-)?index-url"
    found = subprocess.run(
        ["git", "grep", "-nE", "-e", pattern, "--", ".", ":!tests/tooling/test_guards.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""
