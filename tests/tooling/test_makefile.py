"""The Makefile: help, steps by number, what reaches the commands, and errors of one sentence."""

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from workshop.__main__ import COMMANDS
from workshop.cli.measure import load
from workshop.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
SHOW = (
    'python3 -c \'import os, sys; print(os.environ.get("N"), os.environ.get("APP"), sys.argv[1])\''
)


def make(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run make with the install left out, and a WORKSHOP that shows what it was given."""
    command = ["make", "-o", "install", f"WORKSHOP={SHOW}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


def test_make_alone_lists_every_target():
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", make().stdout, re.MULTILINE))
    assert listed == set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))


def test_every_line_of_help_fits_in_80_columns():
    assert [line for line in make("help").stdout.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("arguments", [["check", "3"], ["check", "N=3"]])
def test_a_step_is_named_in_either_way(arguments):
    assert make(*arguments, "APP=a b's").stdout == "3 a b's check\n"


def test_every_command_that_the_makefile_runs_exists():
    commands = re.search(r"^COMMANDS := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1].split()
    numbered = re.search(r"^NUMBERED := (.*)", MAKEFILE, re.MULTILINE)[1].split()
    named = {*commands, *numbered} - {"$(NUMBERED)", "\\"}
    assert named == {name for names in COMMANDS.values() for name in names} - {"timetable"}


def test_settings_of_another_python_do_not_reach_the_commands():
    foreign = {name: "/nowhere" for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")}
    done = make("progress", env=os.environ | foreign)
    assert done.stdout == "None None progress\n"


def test_lines_of_a_pipe_come_in_their_order(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from workshop import __main__ as entry\nimport click, sys\n"
        "@entry.workshop.command()\n"
        "def both():\n    print('first')\n    sys.stderr.write('second\\n')\n"
        "entry.Commands.get_command = lambda self, context, name: both\n"
        "sys.argv = ['workshop', 'both']\nentry.main()\n"
    )
    done = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    assert done.stdout == "first\nsecond\n"


def test_load_goes_to_the_port_that_is_given():
    run = CliRunner(env={"N": "2", "PORT": "9"}).invoke(load, [], standalone_mode=False)
    assert "Nothing answers at http://127.0.0.1:9/" in str(run.exception)


def test_bare_machines_need_root(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = make("test-bare", env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode != 0
    assert done.stderr.startswith("✗ make test-bare needs root and debootstrap on Debian or Ubuntu")


@pytest.mark.parametrize(
    ("goal", "groups"),
    [
        (["step", "1"], "core"),
        (["notebook", "1"], "core notebooks"),
        (["bench"], "core bench"),
        (["test"], "core dev"),
        (["lint"], "core dev"),
        (["install", "GROUPS=bench"], "core bench"),
        (["wheelhouse", "GROUPS=notebooks"], "core build"),
        (["stop", "notebooks"], "core notebooks"),
    ],
)
def test_a_target_installs_the_groups_that_it_needs(goal, groups):
    """GROUPS in the environment is a shell's own list of numbers."""
    shown = subprocess.run(
        ["make", "-n", *goal],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"GROUPS": "1000"},
    ).stdout
    asked = re.search(r"setup/stamp\.py (.*?) *; then", shown)[1].split()
    assert asked == groups.split()


@pytest.mark.parametrize("goal", ["lint", "test-fast"])
def test_lint_looks_at_style_types_and_workflows(goal):
    shown = make("-n", goal).stdout
    assert re.findall(r"(ruff [a-z]+|mypy|actionlint) ", shown) == [
        "ruff check", "ruff format", "mypy", "actionlint",
    ]  # fmt: skip


def test_two_steps_are_compared():
    assert make("compare", "2", "3").stdout == "2 3 None compare\n"


@pytest.mark.parametrize("arguments", [["step", "9"], ["step", "N=9"], ["check", "9", "2"]])
def test_a_step_that_does_not_exist(arguments):
    done = make(*arguments)
    assert done.returncode != 0
    assert re.search(r"There is no step 9: the steps are 1 2 3 4 5\.", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["foo"], ["foo", "3"], ["3"]])
def test_a_target_that_does_not_exist(arguments):
    done = make(*arguments)
    assert done.returncode != 0
    assert f"There is no target {arguments[0]}: make help lists them." in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("python", ["/nowhere/python3", "false"])
def test_without_a_python_that_serves(python):
    done = subprocess.run(
        ["make", "install", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.startswith("✗ Python 3.11 to 3.14 is needed, not found as " + python)
