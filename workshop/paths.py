"""Where things lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".workshop"


def shown(path: Path) -> str:
    """The path as people read it: from the root of the repository where it lies in there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
