"""Guards against drift between the texts, the version and the code; see also `make dev-check`."""

import re
import shutil
import subprocess
import tomllib

import pytest

from workshop.checking.mistakes import mistakes
from workshop.paths import ROOT

TEXTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("step0*/README.md"),
    *ROOT.glob("docs/*.md"),
]


@pytest.mark.parametrize("text", [pytest.param(t, id=str(t.relative_to(ROOT))) for t in TEXTS])
def test_every_make_command_in_a_text_exists(text):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"```.*?```|`[^`\n]+`", text.read_text(), re.DOTALL)
    commands = {m for block in code for m in re.findall(r"\bmake ([a-z][a-z-]*)", block)}
    assert commands <= targets


def test_the_newest_version_in_the_changelog_is_the_projects():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)[0] == version


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
