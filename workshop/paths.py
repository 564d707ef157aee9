"""Where things lie."""

from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".workshop"
HANDOUT = ROOT / "build" / "handout"


def shown(path: Path) -> str:
    """The path as people read it: from the root of the repository where it lies in there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def unused(path: Path) -> Path:
    """The path itself, or the first of path-2, path-3 … that isn't there yet."""
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
