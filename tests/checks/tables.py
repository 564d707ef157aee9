"""Many cases in one check: when some of them fail, the check names them all."""

from collections.abc import Callable

from blackbox import CheckFailed


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
    lines = str(failures[first]).splitlines()
    if others:
        lines[1] += f" (wrong as well: {'; '.join(others)})"
    raise CheckFailed("\n".join(lines))
