"""Guards of what is committed; test_texts.py has those of the texts, `make dev-check` others."""

import re
import subprocess
import tomllib
from dataclasses import replace

from workshop.checking import completeness
from workshop.paths import ROOT
from workshop.steps import step


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


def test_needs_and_hints_that_lead_nowhere_are_found():
    check = replace(
        step(2).checks["waits_overlap"], needs=["order_survives_sigterm"], hint_for={"unasked": "?"}
    )
    plain = {id: replace(other, hint_for={}) for id, other in step(2).checks.items()}
    found = list(completeness._checks(replace(step(2), checks=plain | {check.id: check})))
    file = "tests/checks/step02.toml"
    assert (
        f"{file}: waits_overlap can't need order_survives_sigterm, of another step or level."
        in found
    )
    assert f"{file}: no check asks for the hint unasked." in found
    assert f"{file}: write the hint ended_too_soon, which test_step02_gevent.py asks for." in found
