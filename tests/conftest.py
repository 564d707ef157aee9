"""How the tests are spread over workers, and which of them want the machine for themselves.

`make test` runs everything that is not marked `alone` on several workers: each run of the checks
by itself, on whichever is free, as it waits more than it works; all other tests one after another
on one of them. The tests marked `alone` measure, and follow when nothing else runs.
"""

import random
import signal

import pytest

collect_ignore = ["checks"]  # workshop/checking/runner.py runs them, against one app folder

# A shell's background jobs and nohup ignore these, and all that is started from there inherits
# that: commands under test could not be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    """For several workers: long runs of checks first, the others mixed: some wait, some work."""
    if not hasattr(config, "workerinput"):
        return
    runs = [item for item in items if item.path.stem == "test_checks"]
    others = [item for item in items if item not in runs]
    random.Random(0).shuffle(runs)  # the same on every worker
    runs.sort(key=lambda item: "step_passes_all" not in item.name)
    for item in others:
        item.add_marker(pytest.mark.xdist_group("others"))
    items[:] = [*others, *runs]
