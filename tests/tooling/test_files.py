"""The limit of open files, in processes of their own whose limits the test sets."""

import resource
import subprocess
import sys

from workshop.paths import ROOT

CODE = """
import subprocess
from workshop.files import raise_open_files_limit
print(raise_open_files_limit(1000), flush=True)
subprocess.run(["sh", "-c", "ulimit -Sn; ulimit -Hn"])
"""


def limits(soft: int, hard: int) -> list[int]:
    """What the function returns, and the soft and the hard limit of a process started then."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    return [int(line) for line in done.stdout.split()]


def test_a_low_limit_is_raised_for_what_is_started_then():
    assert limits(256, 2000) == [1000, 1000, 2000]


def test_a_high_limit_stays():
    assert limits(1500, 2000) == [1500, 1500, 2000]


def test_the_hard_limit_is_all_that_can_be_had():
    assert limits(256, 512) == [512, 512, 512]
