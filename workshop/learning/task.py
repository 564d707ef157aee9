"""TASK.md in the learner's folder: what to build, and which checks say that it works."""

import os.path
import re
from collections.abc import Iterable

from workshop.errors import WorkshopError
from workshop.steps import Check, Step

LINK = re.compile(r"\]\((?!\w+:|/)([^)\s]+)\)")  # in Markdown, to a place in the repository


def task(step: Step) -> str:
    """The text of TASK.md. Its contract and its steps are quoted from the lesson."""
    objectives = section(step, "Objectives")
    contract = section(step, "The contract")
    steps = _numbered_list(section(step, "Your task"))
    parts = [
        f"# Step {step.number}: {step.title}\n\n{_introduction(step)}",
        f"## Objectives\n\n{objectives}" if objectives else "",
        f"## The contract\n\n{contract}" if contract else "",
        f"## Your task\n\n{steps}" if steps else "",
        _files(step),
        _checks(step),
        _commands(step),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(step: Step, heading: str, level: int = 2) -> str:
    """The text under a heading of the step's lesson, with links that work in the learner's folder.

    It is empty where the lesson has no such heading.
    """
    lesson = step.path / "README.md"
    text = lesson.read_text() if lesson.exists() else ""
    found = re.search(
        rf"^{'#' * level} {heading}\n+(.*?)(?=^#{{2,{level}}} |\Z)", text, re.DOTALL | re.MULTILINE
    )
    quoted = found[1].strip() if found else ""
    return LINK.sub(lambda link: f"]({_from_work(step, link[1])})", quoted)


def before(step: Step) -> Step:
    """The step that this one builds on. Raises WorkshopError for step 1."""
    if step.before is None:
        raise WorkshopError("Step 1 has nothing to build: read step01_basic/, then `make start 2`.")
    return step.before


def _from_work(step: Step, target: str) -> str:
    """A link of the lesson, as seen from the learner's folder, work/stepNN_…/."""
    path, hash, anchor = target.partition("#")
    return os.path.normpath(f"../../{step.folder}/{path or 'README.md'}") + hash + anchor


def _introduction(step: Step) -> str:
    minutes = f"about {step.minutes} minutes for the lesson and the core checks"
    if step.minutes_production:
        minutes += f", and {step.minutes_production} more for the production checks"
    return (
        f"This folder is yours; it began as a copy of `{before(step).folder}/`. When you are done, "
        f"it serves the same shop with one more technique: {step.technique}. This solves a problem "
        f"of the step before: {step.removes}.\n\n"
        f"Read [the lesson](../../{step.folder}/README.md) first. Plan {minutes}."
    )


def _numbered_list(text: str) -> str:
    """The numbered list of the task; what stands before it says how to start."""
    return text[max(text.find("1. "), 0) :]


def _files(step: Step) -> str:
    to_edit = [name for name in step.changes if name not in (*step.optional, *step.given)]
    files = "\n".join(f"- `{name}`{_novelty(step, name)}" for name in to_edit)
    given = " and ".join(f"`{name}`" for name in step.given)
    ready = f" You got {given} ready-made." if given else ""
    return (
        f"## Files to edit\n\n{files}\n\n"
        f"All other files stay as they are.{ready} These are the files of our solution: yours may "
        "have other new files, because the checks look at the app from outside."
    )


def _novelty(step: Step, name: str) -> str:
    if not (step.path / name).exists():
        return " (to delete)"
    return "" if (before(step).path / name).exists() else " (new)"


def _checks(step: Step) -> str:
    core = [check for check in step.checks.values() if check.level == "core"]
    production = [check for check in step.checks.values() if check.level != "core"]
    text = (
        "## Core checks\n\nYou pass the step once these pass, and the core checks of the steps "
        f"before still do.\n\n{_list(core)}"
    )
    if production:
        text += (
            "\n\n## Production checks\n\nThese find what an outage, a race or an attacker would "
            "find, and the lesson's section “Harden it” is about them. Come back for them whenever "
            f"you like.\n\n{_list(production)}"
        )
        if contract := section(step, "What the production checks ask for", level=3):
            text += f"\n\nThey ask for this:\n\n{contract}"
    return text


def _list(checks: Iterable[Check]) -> str:
    return "\n".join(f"- {check.title} (`{check.id}`)" for check in checks)


def _commands(step: Step) -> str:
    n = step.number
    return (
        "## Commands\n\n"
        "Give them in the workshop's folder, not in this one.\n\n"
        f"- `make check {n}` checks this folder; `make watch {n}` checks it on each save.\n"
        f"- `make hint {n}` gives the next hint for the first failed check; "
        f"`make hint {n} CHECK=id` asks about another one, by its id in parentheses above.\n"
        f"- `make step {n} APP=work/{step.folder}` serves it. To start it by hand, set what it "
        'needs with `eval "$(make services)"`.\n'
        f"- `make solution {n}` compares it with our finished step."
    )
