"""What a learner has done so far, in .workshop/progress.json.

The file is replaced whole, under a lock: a crash in the middle of a write leaves the old one.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workshop.locks import locked
from workshop.paths import STATE, unused
from workshop.steps import checks_up_to

FILE = STATE / "progress.json"


def read() -> dict[str, dict[str, Any]]:
    """The progress: {step number as text: {"started", "checked", "passed", "failed", …}}.

    A file that can't be understood is put aside, and the progress starts from zero.
    """
    try:
        progress = json.loads(FILE.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, IsADirectoryError):
        progress = None
    if not _is_progress(progress):
        FILE.rename(unused(FILE.with_suffix(".unreadable")))
        return {}
    return progress


@contextmanager
def of_step(number: int) -> Iterator[dict[str, Any]]:
    """The progress of one step, to change; it is written at the end of the block."""
    with locked(FILE.with_suffix(".lock")):
        progress = read()
        step = progress.setdefault(str(number), {})
        step.setdefault("hints", {})  # check id -> how many were shown
        yield step
        _write(progress)


def record(
    number: int, passed: list[str], failed: list[str], reasons: dict[str, str] | None = None
) -> None:
    """Keep the result of a run of the checks, given their ids; times are seconds since 1970.

    `reasons` names, by the id of a failed check, the entry of its `hint_for` that fits.
    The step is finished once no core check, of it or of the steps before, fails.
    """
    with of_step(number) as step:
        step["checked"] = time.time()
        step["runs"] = step.get("runs", 0) + 1
        step["passed"], step["failed"], step["reasons"] = passed, failed, reasons or {}
        if not any(check.level == "core" and check.id in failed for check in checks_up_to(number)):
            step.setdefault("finished", step["checked"])


def _write(progress: dict) -> None:
    new = FILE.with_suffix(".new")
    with new.open("w") as handle:
        json.dump(progress, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(FILE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e12


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(id, str) for id in value)


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


FIELDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("started", "checked", "finished", "runs", "asked"), _is_number),
    **dict.fromkeys(("passed", "failed"), _is_ids),
    "hints": _is_counts,
    "reasons": _is_texts,
    "solution_asked": _is_number,
}


def _is_progress(value: object) -> bool:
    """Whether the file holds what we write: an edited or damaged one may hold anything."""
    return isinstance(value, dict) and all(
        isinstance(step, dict)
        and all(fits(step[name]) for name, fits in FIELDS.items() if name in step)
        for step in value.values()
    )
