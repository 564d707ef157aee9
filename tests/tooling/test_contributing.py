"""CONTRIBUTING.md's worked examples, followed word for word in a copy of the repository.

A block after "Write `path`:" or "Append to `path`:" goes into that file, a block of `sh` is run.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from workshop.paths import ROOT

BLOCK = re.compile(
    r"(?:(?P<verb>Write|Append\s+to)\s+`(?P<path>[^`]+)`:\s+)?```(?P<kind>\w*)\n(?P<text>.*?)```",
    re.DOTALL,
)
SERVE = """
import sys, pathlib, urllib.request
from workshop.target import Target, served
with served(Target.of(pathlib.Path(sys.argv[1])), say=lambda text: None) as [server]:
    print(urllib.request.urlopen(server.url).read().decode())
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that git knows, with the same virtual environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def follow(copy, section: str, run: bool = True) -> None:
    """Do what the section's blocks say; `run=False` leaves out the commands that run tests."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    # The headings inside of blocks, of lessons, don't begin so.
    part = re.search(rf"^## {section}\n(.*?)(?=^## (?:Add|Make) )", text, re.DOTALL | re.MULTILINE)[
        1
    ]
    for block in BLOCK.finditer(part):
        if block["verb"]:
            mode = "a" if block["verb"].startswith("Append") else "w"
            path = copy / block["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(mode) as file:
                file.write(block["text"])
        elif block["kind"] == "sh" and (run or "pytest" not in block["text"]):
            done = shell(copy, block["text"])
            assert done.returncode == 0, done.stdout + done.stderr


def shell(copy, command: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        ["sh", "-ec", command], cwd=copy, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def missing(copy) -> list[str]:
    """What dev-check says in the copy."""
    done = subprocess.run(
        [sys.executable, "-m", "workshop", "dev-check"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return [line.removeprefix("✗ ") for line in done.stdout.splitlines() if line.startswith("✗")]


def test_nothing_is_missing_in_the_repository(copy):
    assert missing(copy) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "finding"),
    [
        (
            "tests/checks/test_step01_basic.py", "\n\n\n", "\n\n\ndef test_new(): ...\n\n\n",
            "tests/checks/step01.toml: describe new, which test_step01_basic.py has.",
        ),
        (
            "tests/checks/step02.toml", 'level = "core"', 'level = "hard"',
            "tests/checks/step02.toml: the level of waits_overlap must be core or production.",
        ),
        (
            "step03_pooling/api.py", "import", "import json\nimport",
            "steps.toml: name api.py among the changes of step 3, or undo it.",
        ),
        (
            "step01_basic/app.py", "import shop", "import shop, workshop.steps",
            "step01_basic/app.py: a step must stand alone, but it imports workshop.steps.",
        ),
        (
            "step02_gevent/README.md", "M=unpatched", "M=unpacthed",
            "step02_gevent/README.md: name the mistake, with `make mistake 2 M=unpatched`.",
        ),
        (
            "tests/mistakes/step02_gevent/unpatched.patch", "Why:", "Because:",
            "tests/mistakes/step02_gevent/unpatched.patch: the header lacks the field why.",
        ),
        (
            "tests/mistakes/step02_gevent/unpatched.patch", "Fails:", "Fails: no_such_check,",
            "tests/mistakes/step02_gevent/unpatched.patch: names the check no_such_check, which "
            "doesn't exist.",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(copy, path, old, new, finding):
    text = (copy / path).read_text()
    (copy / path).write_text(text.replace(old, new, 1))
    assert finding in missing(copy)


def test_a_patch_or_a_transcript_alone_is_said(copy):
    folder = copy / "tests/mistakes/step02_gevent"
    (folder / "unpatched.txt").rename(folder / "gone.txt")
    said = " ".join(missing(copy))
    assert "unpatched.txt: is missing" in said
    assert "gone.txt: is the transcript of no mistake" in said


def test_the_examples_of_a_check_and_a_mistake_lead_where_they_say(copy):
    follow(copy, "Add a check")
    assert missing(copy) == ["tests/mistakes/: length_is_told needs a mistake that it catches."]
    follow(copy, "Add a mistake")
    assert missing(copy) == []
    transcript = copy / "tests/mistakes/step01_basic/body_without_length.txt"
    assert "GET / tells the length of its body" in transcript.read_text()


def test_the_example_of_a_step_leads_where_it_says(copy):
    follow(copy, "Add a step", run=False)
    assert [line.split(":")[0] for line in missing(copy)] == [
        "tests/mistakes/step06_timing/timed_in_seconds.txt"
    ]
    commands = re.findall(
        r"^UPDATE_TRANSCRIPTS=1 .*step06.*$", (copy / "CONTRIBUTING.md").read_text(), re.M
    )
    done = shell(copy, commands[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert missing(copy) == []


def test_the_example_of_a_peer_is_served(copy):
    follow(copy, "Add a peer")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, "peers/threads"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert '"step":"step05_jwt"' in done.stdout.replace(" ", ""), done.stderr
