"""Guards of what is committed; test_texts.py has those of the texts, `make dev-check` others."""

import re
import subprocess
import tomllib

from workshop.paths import ROOT


def test_the_newest_version_in_the_changelog_is_the_projects():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)[0] == version


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
