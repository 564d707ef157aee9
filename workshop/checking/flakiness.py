"""Run the checks again and again with every core busy: a check that ever fails there is flaky."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workshop.checking import runner
from workshop.steps import Step


def runs(step: Step, rounds: int, on_round: Callable[[int, list[str]], None]) -> Counter[str]:
    """How often each check failed; `on_round` hears each round and what failed."""
    failures: Counter[str] = Counter()
    with busy_cores():
        for number in range(1, rounds + 1):
            outcomes = runner.run(step.number, step.path)
            failed = [outcome.check.id for outcome in outcomes if not outcome.passed]
            failures.update(failed)
            on_round(number, failed)
    return failures


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep each core at work until the end of the block."""
    # daemon: they end with this process, however it ends by itself
    burners = [
        multiprocessing.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()


def _burn() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        sum(range(1_000_000))
