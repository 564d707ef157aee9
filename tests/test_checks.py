"""Every step passes its checks and those before it; and fails those of the step after it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from workshop.checking import runner
from workshop.steps import steps

SIDE_BY_SIDE = 3  # the checks wait more than they work


@pytest.fixture(scope="module")
def runs():
    """Both runs of every step, as futures: (step number, "whole" or "before")."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as runners:
        futures = {}
        for s in reversed(steps()):
            futures[s.number, "whole"] = runners.submit(runner.run, s.number, s.path)
            if s.before:
                own = list(s.checks.values())
                run = runners.submit(runner.run, s.number, s.before.path, own)
                futures[s.number, "before"] = run
        yield futures
        runners.shutdown(cancel_futures=True)


@pytest.mark.parametrize("step", steps(), ids=lambda s: s.folder)
def test_step_passes_all_checks_up_to_its_own(step, runs):
    failed = [o for o in runs[step.number, "whole"].result() if not o.passed]
    assert not failed, "\n\n".join(f"{o.check.id}\n{o.message}" for o in failed)


@pytest.mark.parametrize("step", steps()[1:], ids=lambda s: s.folder)
def test_step_before_fails_every_check_of_the_step_by_assertion(step, runs):
    outcomes = runs[step.number, "before"].result()
    assert [o.check.id for o in outcomes if o.passed] == []
    assert [o.check.id for o in outcomes if not o.by_assertion] == []
