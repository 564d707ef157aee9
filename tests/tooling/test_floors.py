"""Imports inside of workshop/ run downwards only; docs/architecture.md has the floors."""

import ast
import re

from workshop.paths import ROOT

PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "workshop"


def floors() -> dict[str, int]:
    """The floor of each package and module of workshop/, by name."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}


def unit(path) -> str:
    """The package or module of workshop/ that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """What a file imports of workshop/, at its top or inside a function, by unit."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "workshop":
            names = [f"workshop.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("workshop."))


def test_every_package_and_module_has_a_floor():
    found = {unit(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert found == set(floors())


def test_imports_run_downwards_only():
    floor = floors()
    upwards = sorted(
        {
            f"{path.relative_to(ROOT)} imports workshop.{other}"
            for path in PACKAGE.rglob("*.py")
            for other in imported(path)
            if unit(path) not in ("__init__", other) and floor[other] >= floor[unit(path)]
        }
    )
    assert upwards == []
