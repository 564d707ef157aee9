"""Guards of the texts: what a lesson shows, names or links to must exist and must work."""

import re

import pytest

from workshop.checking import prose
from workshop.paths import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"


def test_glossary_is_in_alphabetical_order_and_names_the_step_of_each_term():
    entries = re.findall(r"^## (.+)\n\n(.+(?:\n.+)*)", GLOSSARY.read_text(), re.MULTILINE)
    terms = [term for term, _ in entries]
    assert terms == sorted(terms, key=lambda term: term.lower().replace("-", " "))
    assert [term for term, text in entries if not re.search(r"\(step \d\)$", text)] == []


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
