"""Which tests belong to which tier, and how they are spread over workers.

`make test-fast` runs those that need no server, `make test-thorough` also those that take long.
`make test` runs them on several, as most wait more than they work: each run of the checks by
itself, on whichever worker is free; what measures, one after another; all others one after another.
All hold on a busy machine.
"""

import os
import random
import signal

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
RUNNING_CHECKS = {"test_checks", "test_right_answers"}
MEASURING = {"test_notebooks", "test_bench", "test_lab", "test_load", "test_compare"}
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
    """For several workers: long runs of checks first, the others mixed: some wait, some work."""
    runs = [item for item in items if item.path.stem in RUNNING_CHECKS]
    others = [item for item in items if item not in runs]
    random.Random(0).shuffle(runs)  # the same on every worker
    runs.sort(key=lambda item: "step_passes_all" not in item.name)
    for item in others:
        group = "measuring" if item.path.stem in MEASURING else "others"
        item.add_marker(pytest.mark.xdist_group(group))
    items[:] = [*others, *runs]
