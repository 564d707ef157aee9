"""The timetables of docs/instructor.md, made from steps.toml."""

import re
import tomllib
from dataclasses import dataclass

from workshop.paths import ROOT
from workshop.steps import step

GUIDE = ROOT / "docs" / "instructor.md"
PART = re.compile(r"(<!-- timetables: .*? -->\n).*?(<!-- /timetables -->)", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """A part of the day; `begins` in minutes since midnight, `minutes` its length."""

    what: str
    begins: int
    minutes: int

    @property
    def row(self) -> str:
        return f"| {self.begins // 60:02}:{self.begins % 60:02} | {self.minutes} | {self.what} |"


@dataclass(frozen=True)
class Timetable:
    """One way to spread the steps over a day; `total` in minutes is what the items must add to."""

    title: str
    total: int
    items: list[Item]

    def __str__(self) -> str:
        last = self.items[-1]
        end = Item("**End**", last.begins + last.minutes, sum(i.minutes for i in self.items))
        rows = "\n".join(item.row for item in [*self.items, end])
        return f"### {self.title}\n\n| begins | minutes | what |\n|---|---|---|\n{rows}\n"


def timetables() -> list[Timetable]:
    """Those of steps.toml, in their order."""
    manifest = tomllib.loads((ROOT / "steps.toml").read_text())["timetable"]
    return [_timetable(name, entry) for name, entry in manifest.items()]


def _timetable(name: str, entry: dict) -> Timetable:
    hours, minutes = entry["begins"].split(":")
    now = int(hours) * 60 + int(minutes)
    items = []
    for part in entry["plan"]:
        item = Item(*_what(name, part, now))
        items.append(item)
        now += item.minutes
    return Timetable(entry["title"], entry["total"], items)


def _what(name: str, part: int | list, now: int) -> tuple[str, int, int]:
    if isinstance(part, list):
        return part[0], now, part[1]
    chosen = step(part)
    minutes = chosen.minutes_half_day if name == "half_day" else chosen.minutes
    return f"Step {chosen.number}: {chosen.title}", now, minutes


def renewed(text: str) -> str:
    """The guide's text with its timetables as steps.toml has them now."""
    tables = "\n".join(str(table) for table in timetables())
    return PART.sub(lambda found: found[1] + "\n" + tables + "\n" + found[2], text)
