"""Guards of the texts: what a lesson shows, names or links to must exist and must work.

Each failure names the text and its line.
"""

import ast
import doctest
import json
import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

from workshop.checking import prose
from workshop.checking.mistakes import mistakes
from workshop.paths import ROOT
from workshop.steps import checks_up_to, steps

GLOSSARY = ROOT / "docs" / "glossary.md"
LESSONS = {step.path / "README.md": step for step in steps()}
TEXTS = [*ROOT.glob("*.md"), *LESSONS, *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"\bmake((?: +[A-Z]+=[^\s;|&)]+| +\d| +[a-z][a-z-]*)+)")
PLACEHOLDERS = {"name", "folder", "…", "N"}
# The headings of a lesson, in their order; others may stand before the last three.
SHAPE = (
    r"Objectives", r"Files changed", r"The problem", r"What (?:is|are) .+\?", r"The code",
    r"Worked example: .+", r"The contract", r"Your task", r"What to observe", r"Harden it",
    r"Check your understanding", r"Words", r"Further reading",
)  # fmt: skip
OUR_FILES = ("step0*/*.py", "step0*/alternatives/*.py", "tests/checks/*.py", "notebooks/*.ipynb")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text without indentation, and where it begins."""

    kind: str
    text: str
    place: str


def over(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@cache
def read(path: Path) -> str:
    """A text; of a notebook, what isn't code."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def place(path: Path, text: str, position: int) -> str:
    return f"{path.relative_to(ROOT)}, line {text.count(chr(10), 0, position) + 1}"


def blocks(path: Path, *kinds: str) -> list[Block]:
    text = read(path)
    return [
        Block(found[2], textwrap.dedent(found[3]), place(path, text, found.start()))
        for found in FENCE.finditer(text)
        if found[2] in kinds
    ]


def outside_blocks(path: Path) -> str:
    """The text with its blocks blanked: positions and lines stay where they are."""
    return FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), read(path))


def commands(path: Path):
    """Each `make` command that a reader may type: its words, and where it stands."""
    text = outside_blocks(path)
    for code in re.finditer(r"`([^`]+)`", text):
        for command in COMMAND.finditer(" ".join(code[1].split())):
            yield command[1].split(), place(path, text, code.start())
    for block in blocks(path, "", "sh", "bash"):
        for command in COMMAND.finditer(block.text):
            yield command[1].split(), block.place


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def headings(path: Path, levels: str = "#+") -> list[str]:
    return re.findall(rf"^{levels} (.+)", outside_blocks(path), re.MULTILINE)


@pytest.mark.parametrize("path", over(TEXTS))
def test_make_commands_have_a_target_a_step_and_a_mistake_that_exist(path):
    numbers = {str(step.number) for step in steps()}
    for words, where in commands(path):
        target = next((word for word in words if re.fullmatch(r"[a-z-]+", word)), None)
        assert target in TARGETS, f"{where}: there is no make {target}"
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        is_explained = path == ROOT / "README.md"  # that N= means the same
        assert "N" not in settings or is_explained, f"{where}: write make {target} {settings['N']}"
        given = [word for word in words if word.isdigit()] + settings.get("N", "").split()
        strange = set(given) - numbers - PLACEHOLDERS
        assert not strange, f"{where}: there is no step {', '.join(strange)}"
        name = settings.get("M", "name")
        if name not in PLACEHOLDERS:
            known = {mistake.name for number in given for mistake in mistakes(int(number))}
            assert name in known, f"{where}: step {' '.join(given)} has no mistake {name}"


@pytest.mark.parametrize("path", over(TEXTS))
def test_links_to_files_and_headings_lead_somewhere(path):
    text = outside_blocks(path)
    for link in re.finditer(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)", text):
        where = place(path, text, link.start())
        target = (path.parent / link[1]).resolve() if link[1] else path
        assert target.exists(), f"{where}: there is no {link[1]}"
        if link[2]:
            anchors = {slug(heading) for heading in headings(target)}
            assert link[2] in anchors, f"{where}: {target.name} has no heading #{link[2]}"


@pytest.mark.parametrize("path", over(TEXTS))
def test_shell_blocks_parse(path):
    for block in blocks(path, "sh", "bash"):
        done = subprocess.run(
            ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
        )
        assert not done.stderr, f"{block.place}: {done.stderr}"


@pytest.mark.parametrize("path", over(TEXTS))
def test_python_blocks_parse(path):
    for block in blocks(path, "python"):
        if path in LESSONS and excerpted(path, block):
            continue  # compared with the file, which parses
        examples = doctest.DocTestParser().get_examples(block.text)
        for source in [example.source for example in examples] or [block.text]:
            try:
                ast.parse(source)
            except SyntaxError as error:
                pytest.fail(f"{block.place}: {error.msg}, in {source.splitlines()[:1]}")


def excerpted(lesson: Path, block: Block) -> Path | None:
    """The file that the first line of the block names, if it names one."""
    named = re.match(r"# ([\w./-]+\.py)(\b.*)", block.text)
    if not named:
        return None
    found = [folder / named[1] for folder in (lesson.parent, ROOT) if (folder / named[1]).exists()]
    assert found or named[2], f"{block.place}: the step has no file {named[1]}"
    return found[0] if found else None


@pytest.mark.parametrize("lesson", over(LESSONS))
def test_code_that_a_lesson_shows_is_in_the_file(lesson):
    for block in blocks(lesson, "python"):
        if file := excerpted(lesson, block):
            stray = first_stray_line(block.text.partition("\n")[2], file.read_text())
            assert not stray, (
                f"{block.place}: {file.relative_to(ROOT)} doesn't go on with this line: {stray!r}. "
                "A line with # ... stands for lines that are left out."
            )


def first_stray_line(excerpt: str, code: str) -> str:
    """The first line that doesn't follow in the code; empty where all do. Blank lines don't count.

    A line with only `# ...` stands for any number of lines.
    """
    rest = [line for line in code.splitlines() if line.strip()]
    for part in re.split(r"^ *# \.\.\.$", excerpt, flags=re.MULTILINE):
        wanted = [line for line in part.splitlines() if line.strip()]
        if not wanted:
            continue
        alike, start = max(
            (matching(wanted, rest[start:]), -start) for start in range(len(rest) + 1)
        )
        if alike < len(wanted):
            return wanted[alike]
        rest = rest[-start + alike :]
    return ""


def matching(wanted: list[str], lines: list[str]) -> int:
    """How many of the wanted lines these begin with, all indented by as much more or less."""
    count, shift = 0, set()
    for one, other in zip(wanted, lines, strict=False):
        shift.add(indentation(other) - indentation(one))
        if other.strip() != one.strip() or len(shift) > 1:
            break
        count += 1
    return count


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


@pytest.mark.parametrize("lesson", over(LESSONS))
def test_names_in_a_lesson_are_those_of_checks_or_of_code(lesson):
    known = names_in_code() | set(re.findall(r"\w+", "\n".join(b.text for b in all_blocks(lesson))))
    text = outside_blocks(lesson)
    for task in re.finditer(r"^## (?:Your task|Harden it)\n.*?(?=^## |\Z)", text, re.DOTALL | re.M):
        for name in re.finditer(r"`([a-z]+(?:_[a-z0-9]+)+)`", task[0]):
            where = place(lesson, text, task.start() + name.start())
            assert name[1] in known, f"{where}: {name[1]} is no check, and no name in the code"


def all_blocks(path: Path) -> list[Block]:
    return blocks(path, *{found[2] for found in FENCE.finditer(read(path))})


@cache
def names_in_code() -> set[str]:
    names = {one.id for one in checks_up_to(len(steps()))} | {one.name for one in mistakes()}
    for pattern in OUR_FILES:
        for path in ROOT.glob(pattern):
            names |= set(re.findall(r"\w+", path.read_text()))
    return names


@pytest.mark.parametrize("lesson", over(LESSONS))
def test_lesson_has_the_headings_that_learners_know(lesson):
    step = LESSONS[lesson]
    assert headings(lesson, "#") == [f"Step {step.number}: {step.title}"]
    found = headings(lesson, "##")
    others = [".+"] * (len(found) - len(SHAPE))
    for heading, wanted in zip_longest(found, [*SHAPE[:-3], *others, *SHAPE[-3:]], fillvalue=""):
        assert re.fullmatch(wanted, heading), (
            f"{lesson.relative_to(ROOT)}: expected the heading {wanted!r}, got {heading!r}"
        )


@pytest.mark.parametrize("path", over(TEXTS))
def test_a_number_at_the_start_of_a_line_belongs_to_a_list(path):
    """A paragraph that is wrapped after "in step" would go on as a list of its own."""
    text, last = outside_blocks(path), 0
    for item in re.finditer(r"(?<=\n)( *)(\d+)\. ", text):
        before = text[: item.start() - 1].rpartition("\n")[2]
        number = int(item[2])
        begins = number == 1 and (not before.strip() or before.endswith(":"))
        assert begins or number == last + 1, (
            f"{place(path, text, item.start())}: this line begins a list, so wrap it elsewhere"
        )
        last = number


def test_glossary_is_in_alphabetical_order_and_names_the_step_of_each_term():
    entries = re.findall(r"^## (.+)\n\n(.+(?:\n.+)*)", GLOSSARY.read_text(), re.MULTILINE)
    terms = [term for term, _ in entries]
    assert terms == sorted(terms, key=lambda term: term.lower().replace("-", " "))
    assert [term for term, text in entries if not re.search(r"\(step \d\)$", text)] == []


def test_failure_on_the_front_page_has_the_title_the_hint_and_the_id_of_its_check():
    shown = re.search(
        r"^✗ (.+)\n(?:.+\n)*  hint((?:.+\n)+)  id +(\w+)\n```",
        read(ROOT / "README.md"),
        re.MULTILINE,
    )
    failure = shown[1], " ".join(shown[2].split()), shown[3]
    known = {(check.title, check.hints[0], check.id) for check in checks_up_to(len(steps()))}
    assert failure in known, "README.md shows a failed check that has changed since"


def test_what_to_try_with_a_mistake_can_be_pasted_into_a_shell():
    for mistake in mistakes():
        command = mistake.attempt.format(url="http://127.0.0.1:8001")
        done = subprocess.run(["sh", "-n", "-c", command], stderr=subprocess.PIPE, check=False)
        assert not done.stderr, f"{mistake.name}: {command}"
        first, assigns = re.match(r"\(?(\w+)(=?)", command).groups()
        assert assigns or first in ("for", "time") or shutil.which(first), (
            f"{mistake.name}: {command}"
        )
        assert not re.search(", then |; and: ", command), f"{mistake.name}: {command}"
        assert "pgrep" not in command, f"{mistake.name}: it hits any program of that name"


DENSE = """# Heading words that don't count because they are short

Redis is left alone. Nobody waits.

| a table | because |

```python
because = "you"
```
"""
WARM = """
You may wonder why nothing waits here, because [Redis](../redis.md) is down and the page isn't slow.

1. We'll see that `make pause` stops it, so every request has to find its answer somewhere else.

```mermaid
flowchart LR
```
"""


def test_figures_of_a_text_that_is_dense_and_of_one_that_is_not():
    dense, warm = prose.measure(DENSE), prose.measure(WARM)
    assert (dense.sentence, dense.reader, dense.connectives, dense.python) == (3, 0, 0, 1)
    assert (warm.sentence, warm.mermaid) == (16, 1)
    assert [warm.reader, warm.connectives, warm.contractions] == [pytest.approx(2000 / 32)] * 3


def test_misses_are_those_of_the_goals_that_apply():
    figures = prose.Prose(19, 20, 4.9, 4, 2, 2)
    assert prose.misses(figures, is_lesson=True) == [True, False, True, False, True, False]
    assert prose.misses(figures, is_lesson=False) == [True, False, True, False, False, False]
