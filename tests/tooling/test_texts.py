"""Guards of the texts: what a lesson shows, names or links to must exist and must work."""

import re

from workshop.paths import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"


def test_glossary_is_in_alphabetical_order_and_names_the_step_of_each_term():
    entries = re.findall(r"^## (.+)\n\n(.+(?:\n.+)*)", GLOSSARY.read_text(), re.MULTILINE)
    terms = [term for term, _ in entries]
    assert terms == sorted(terms, key=lambda term: term.lower().replace("-", " "))
    assert [term for term, text in entries if not re.search(r"\(step \d\)$", text)] == []
