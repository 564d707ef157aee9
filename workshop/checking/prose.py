"""How the texts read, in figures: `make prose` shows them beside the goals.

Figures find a text that is dense, impersonal or chopped; they don't find one that is wrong or dull.
Code, tables, headings and HTML don't count.
"""

import re
from dataclasses import astuple, dataclass

from workshop.paths import ROOT
from workshop.steps import steps

BLOCK = re.compile(r"^ *```(\w*).*?^ *```", re.DOTALL | re.MULTILINE)
NOT_PROSE = re.compile(r"<!--.*?-->|<[^>]+>|^ *[|#][^\n]*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
INLINE_CODE = re.compile(r"`[^`]+`")
ITEM = re.compile(r"^ *(?:[-*>]|\d+\.) ", re.MULTILINE)
# A list item or a paragraph ends a sentence, with or without a full stop.
SENTENCE_END = re.compile(r"[.!?][)\"”*]*\s|\n\s*\n")
WORD = re.compile(r"[^\W_]+(?:['’.,/-][^\W_]+)*")

READER = re.compile(r"\b(?:you|your|yours|yourself|we|our|ours|us)\b", re.IGNORECASE)
CONNECTIVE = re.compile(
    r"\b(?:because|so|but|therefore|although|however|while|whereas|which means)\b",
    re.IGNORECASE,
)
# An apostrophe and an s is a contraction after these words only; elsewhere it is a genitive.
CONTRACTION = re.compile(
    r"n't\b|'(?:re|ve|ll|d|m)\b|\b(?:it|that|there|here|what|who|how|where|let|he|she)'s\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prose:
    """The figures of one text, in the order of COLUMNS; shares are per 1,000 words."""

    sentence: float  # words
    reader: float
    connectives: float
    contractions: float
    python: int  # blocks
    mermaid: int


COLUMNS = ("words/sentence", "you, we", "because, so", "contractions", "Python", "Mermaid")
GOALS = ((12, 18), (20, None), (5, None), (4, None), (3, None), (2, None))  # least and most
GENERAL = 4  # so many of them apply to each text, the others to lessons


def texts() -> dict[str, str]:
    """What is measured, by path: the lessons, the front page and the instructor's guide."""
    paths = [step.path / "README.md" for step in steps()]
    paths += [ROOT / "README.md", ROOT / "docs" / "instructor.md"]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths if path.exists()}


def measure(text: str) -> Prose:
    """The figures of a text in Markdown."""
    kinds = [match[1] for match in BLOCK.finditer(text)]
    prose = LINK.sub(r"\1", NOT_PROSE.sub("", BLOCK.sub("", text))).replace("’", "'")
    prose = ITEM.sub("\n", INLINE_CODE.sub("code", prose))
    words = len(WORD.findall(prose)) or 1
    sentences = sum(bool(WORD.search(part)) for part in SENTENCE_END.split(prose)) or 1

    def share(pattern: re.Pattern[str]) -> float:
        return 1000 * len(pattern.findall(prose)) / words

    return Prose(
        words / sentences,
        share(READER),
        share(CONNECTIVE),
        share(CONTRACTION),
        kinds.count("python"),
        kinds.count("mermaid"),
    )


def misses(prose: Prose, is_lesson: bool) -> list[bool]:
    """For each column, whether the text misses the goal that applies to it."""
    return [
        (is_lesson or index < GENERAL) and not (least <= value and (most is None or value <= most))
        for index, (value, (least, most)) in enumerate(zip(astuple(prose), GOALS, strict=True))
    ]
