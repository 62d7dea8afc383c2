"""Words of the glossary: the first use on a page becomes a link, in prose only; every definition is used and plain."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
nodes = pytest.importorskip("docutils.nodes", reason="the book is built by Sphinx, which is an extra")

import terms  # noqa: E402  (a Sphinx extension, not a package)

GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = [block.split("\n  ", 1) for block in GLOSSARY.split(":sorted:\n\n")[1].removesuffix("\n```\n").split("\n\n")]


def paragraph(*children):
    return nodes.paragraph("", "", *(nodes.Text(c) if isinstance(c, str) else c for c in children))


def document(*children):
    made = nodes.section()
    made.extend(children)
    return made


@pytest.fixture
def app():
    """A builder of two definitions and two symbols."""
    items = []
    for words, meaning in ((["rank", "ranks"], "so many directions"), (["displacement rank"], "the other rank")):
        named = [nodes.term("", word, ids=[f"term-{word.replace(' ', '-')}"]) for word in words]
        items.append(nodes.definition_list_item("", *named, nodes.definition("", paragraph(meaning))))
    cells = [nodes.entry("", paragraph(nodes.math("", r"\sigma_i, r"))), nodes.entry("", paragraph("stretches"))]
    pages = {
        "glossary": document(nodes.definition_list("", *items)),
        "notation": document(nodes.tbody("", nodes.row("", *cells))),
    }
    domain = SimpleNamespace(has_equations=lambda page: True)
    builder = SimpleNamespace(format="html", get_relative_uri=lambda a, b: f"../{b}.html")
    env = type("Env", (), {"get_doctree": lambda self, name: pages[name], "get_domain": lambda self, name: domain})()
    return SimpleNamespace(env=env, builder=builder)


def links(app, page, name="part1/01"):
    terms.mark(app, page, name)
    return [(link.astext(), link["refuri"]) for link in page.findall(nodes.reference)]


RANK, OTHER = "../glossary.html#term-rank", "../glossary.html#term-displacement-rank"


def test_the_first_use_is_linked_and_the_longest_word_wins(app):
    page = document(paragraph("The displacement\nrank is no rank. Ranks."), paragraph("Rank, displacement rank."))
    assert links(app, page) == [("displacement\nrank", OTHER), ("rank", RANK)]
    assert page.astext() == "The displacement\nrank is no rank. Ranks.\n\nRank, displacement rank."
    assert page["book_terms"] == ["glossary#term-displacement-rank", "glossary#term-rank"]


def test_capitals_and_parts_of_words(app):
    assert links(app, document(paragraph("Ranks: high-ranking, prank, full-rank, RANK."))) == [("Ranks", RANK)]
    assert links(app, document(paragraph("high-ranking, prank, full-rank, RANK."))) == []


def test_titles_links_code_and_the_glossary_itself_are_left_alone(app):
    inside = [nodes.reference("", "rank", refuri="x"), nodes.literal("", "rank")]
    page = document(nodes.title("", "rank"), paragraph(*inside), nodes.literal_block("", "rank"))
    assert links(app, page) == [("rank", "x")]
    assert links(app, document(paragraph("rank")), "glossary") == []


def test_a_symbol_alone_is_linked_and_a_bare_letter_is_not(app):
    formulas = [nodes.math("", text) for text in ("r", r"\sigma_i^2", r"\sigma_i", r"\sigma_i")]
    page = document(paragraph(*formulas))
    assert links(app, page) == [(r"\sigma_i", "../notation.html#symbols")]
    assert [link["reftitle"] for link in page.findall(nodes.reference)] == ["sigma_i"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[0].split("\n")[0])
def test_every_word_is_used_and_its_definition_needs_no_link(entry):
    words, meaning = entry
    assert not re.search(r"\{\w+\}`|\]\(", meaning), "a definition is shown on every page: a link in it would not fit"
    assert len(meaning) < 260, "a definition is one sentence or two"
    prose = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("part*/*.md"))
    assert any(re.search(terms._matches(word), prose) for word in words.split("\n")), "no chapter uses it"
