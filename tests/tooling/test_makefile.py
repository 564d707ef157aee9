"""The Makefile: help, steps by number, and errors of one sentence."""

import re
import subprocess

import pytest

from workshop.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
SHOW = (
    'python3 -c \'import os, sys; print(os.environ.get("N"), os.environ.get("APP"), sys.argv[1])\''
)


def make(*arguments: str) -> subprocess.CompletedProcess:
    """Run make with the install left out, and a WORKSHOP that shows what it was given."""
    command = ["make", "-o", "install", f"WORKSHOP={SHOW}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target():
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", make().stdout, re.MULTILINE))
    assert listed == set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))


def test_every_line_of_help_fits_in_80_columns():
    assert [line for line in make("help").stdout.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("arguments", [["check", "3"], ["check", "N=3"]])
def test_a_step_is_named_in_either_way(arguments):
    assert make(*arguments, "APP=a b's").stdout == "3 a b's check\n"


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
