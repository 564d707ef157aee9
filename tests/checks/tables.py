"""Many cases in one check: when some of them fail, the check names them all."""

from collections.abc import Callable

from blackbox import CheckFailed

from workshop.checking.outcome import with_other_cases


def expect_each(cases: dict, check: Callable) -> None:
    """check(name, case) for each; fails with the first failure and the names of all the others."""
    failures: dict[str, CheckFailed] = {}
    for name, case in cases.items():
        try:
            check(name, case)
        except CheckFailed as failure:
            failures[name] = failure
    if not failures:
        return
    first, *others = failures
    raise CheckFailed(with_other_cases(str(failures[first]), others), failures[first].hint)
