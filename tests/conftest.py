"""Which tests belong to which tier, and how they are spread over workers.

`make test-fast` runs those that need no server, `make test-thorough` also those that take long.
`make test` runs them on several workers, because most tests wait more than they work. All hold on a
busy machine.
"""

import os
import random
import signal
from pathlib import Path

import pytest

THOROUGH = bool(os.environ.get("THOROUGH"))
FAST = {
    "test_files",
    "test_floors",
    "test_guards",
    "test_instructor",
    "test_learner",
    "test_makefile",
    "test_ports",
    "test_report",
    "test_texts",
}
# What measures runs on one worker, one test after another.
MEASURING = {"test_notebooks", "test_bench", "test_lab", "test_load", "test_compare"}
# The tests of each of these modules share what takes long to prepare, so they run on one worker.
SHARING = {
    "test_alternatives",
    "test_faults",
    "test_gunicorn",
    "test_hostile_http",
    "test_mark",
    "test_services",
}
collect_ignore = ["checks"]  # workshop/checking/runner.py runs them, against one app folder

# A shell's background jobs and nohup ignore these, and all that is started from there inherits
# that: commands under test could not be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.stem in FAST:
            item.add_marker("fast")
    if not THOROUGH:
        long = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if hasattr(config, "workerinput"):
        spread(items)


def spread(items):
    """For several workers: what takes longest begins first, so that all end at the same time."""
    random.Random(0).shuffle(items)  # the same on every worker: some wait, some work
    items.sort(key=lambda item: "step_passes_all" not in item.name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand each worker a single test, or all those that share a group."""
    from xdist.scheduler import LoadScopeScheduling  # Checks load this file too, without xdist.

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module = Path(nodeid.partition("::")[0]).stem
            if module in MEASURING:
                return "measuring"
            return module if module in SHARING else nodeid

    return Scheduler(config, log)
