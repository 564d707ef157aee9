"""The outcomes of the checks as JUnit XML, which other tools read."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from workshop.checking.outcome import Outcome
from workshop.steps import step


def write(outcomes: Sequence[Outcome], file: Path) -> None:
    """Write all outcomes as one test suite; times are in seconds. Raises OSError."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    suite = ET.Element(
        "testsuite",
        name="checks",
        tests=str(len(outcomes)),
        failures=str(sum(outcome.by_assertion for outcome in failed)),
        errors=str(sum(not outcome.by_assertion for outcome in failed)),
        skipped=str(sum(outcome.passed and not outcome.counts_as_passed for outcome in outcomes)),
        time=f"{sum(outcome.seconds for outcome in outcomes):.3f}",
    )
    for outcome in outcomes:
        suite.append(_case(outcome))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _case(outcome: Outcome) -> ET.Element:
    check = outcome.check
    case = ET.Element(
        "testcase",
        classname=step(check.step).folder,
        name=check.id,
        time=f"{outcome.seconds:.3f}",
    )
    if outcome.not_applicable:
        ET.SubElement(case, "skipped", message=outcome.not_applicable)
    elif outcome.waits_for:
        ET.SubElement(case, "skipped", message=f"not reached yet: {outcome.waits_for.id} fails")
    elif not outcome.passed:
        kind = "failure" if outcome.by_assertion else "error"
        said = ET.SubElement(case, kind, message=check.title)
        said.text = "\n".join([outcome.message, *outcome.trace])
    return case
