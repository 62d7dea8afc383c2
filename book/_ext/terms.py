"""Sphinx extension: the first use on a page of each word of the glossary links to it and carries its definition along.

The definitions are written once, in ``glossary.md``; symbols come from the first table of ``notation.md`` and are
marked where they stand alone as a formula. ``tips.js`` shows a definition on hover and on focus; without it the link
remains.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

SOURCES = ("glossary", "notation")
# A word inside these is a title, a link, code, or a definition itself.
_NOT_IN = (nodes.title, nodes.reference, nodes.literal, nodes.citation, nodes.definition_list, nodes.Invisible)


class Words:
    """What is defined: a pattern that finds words, and for each target the paragraphs that explain it."""

    def __init__(self, env: BuildEnvironment) -> None:
        self.meaning: dict[str, nodes.Element] = {}  # "glossary#term-rank" -> definition
        self.targets: dict[str, str] = {}  # a word as it is matched -> the target
        self.symbols: dict[str, str] = {}
        for item in env.get_doctree("glossary").findall(nodes.definition_list_item):
            words = [child for child in item.children if isinstance(child, nodes.term)]
            target = f"glossary#{words[0]['ids'][0]}"
            self.meaning[target] = next(child for child in item.children if isinstance(child, nodes.definition))
            self.targets |= dict.fromkeys((_plain(word.astext()) for word in words), target)
        for row in next(iter(env.get_doctree("notation").findall(nodes.tbody))).findall(nodes.row):
            symbols, meaning = row.children[0], row.children[1]
            for formula in symbols.findall(nodes.math):
                for symbol in _alone(formula.astext()):
                    target = f"notation#symbols-{len(self.symbols)}"
                    self.symbols[symbol] = target
                    self.meaning[target] = meaning
        longest_first = sorted(self.targets, key=len, reverse=True)
        self.pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(_matches, longest_first))})(?![\w-])")


def _plain(word: str) -> str:
    return re.sub(r"\s+", " ", word)


def _matches(word: str) -> str:
    """The word with any white space, small or capital where it begins small."""
    first = f"[{word[0]}{word[0].upper()}]" if word[0].islower() else re.escape(word[0])
    return first + re.escape(word[1:]).replace(r"\ ", r"\s+")


def _alone(formula: str) -> list[str]:
    """The symbols of a cell of the table that mean one thing wherever they stand: a bare letter may mean another."""
    return [symbol for symbol in re.split(r",\s+|\s+=\s+.*", formula) if re.search(r"[\\_]", symbol)]


@functools.cache
def words_of(env: BuildEnvironment) -> Words:
    """Read once a build."""
    return Words(env)


def mark(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn the first use of each word on the page into a link."""
    if docname in SOURCES or app.builder.format != "html":
        return
    words, seen = words_of(app.env), set()
    mathematics = app.env.get_domain("math").has_equations(docname)

    def link(target: str, inner: nodes.Node) -> nodes.Node:
        seen.add(target)
        page, _, anchor = target.partition("#")
        anchor = "symbols" if page == "notation" else anchor
        address = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"
        made = nodes.reference("", "", inner, internal=True, refuri=address, classes=["book-term", _tip(target)])
        if isinstance(inner, nodes.math):  # a typeset formula is no name that could be read out
            made["reftitle"] = re.sub(r"[\\{}]+", " ", inner.astext()).strip()
        return made

    def fresh(target: str) -> bool:
        return target not in seen and (mathematics or not any(words.meaning[target].findall(nodes.math)))

    for paragraph in list(doctree.findall(nodes.paragraph)):
        for node in list(paragraph.findall(lambda it: isinstance(it, nodes.Text | nodes.math))):
            if not _readable(node):
                continue
            if isinstance(node, nodes.math):
                target = words.symbols.get(node.astext())
                if target and fresh(target):
                    node.parent.replace(node, link(target, node.deepcopy()))
                continue
            parts = list(_parts(node.astext(), words, fresh, link))
            if len(parts) > 1:
                node.parent.replace(node, parts)
    doctree["book_terms"] = sorted(seen)


def _readable(node: nodes.Node) -> bool:
    while (node := node.parent) is not None:
        if isinstance(node, _NOT_IN):
            return False
    return True


def _parts(text: str, words: Words, fresh: Any, link: Any) -> Iterator[nodes.Node]:
    at = 0
    for found in words.pattern.finditer(text):
        word = _plain(found.group())
        target = words.targets.get(word) or words.targets[word[0].lower() + word[1:]]
        if fresh(target):
            yield nodes.Text(text[at : found.start()])
            yield link(target, nodes.Text(found.group()))
            at = found.end()
    yield nodes.Text(text[at:])


def _tip(target: str) -> str:
    return "tip-" + re.sub(r"\W+", "-", target)


def append(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """The definitions that the page uses, out of sight at its end."""
    used = doctree["book_terms"] if doctree is not None and "book_terms" in doctree else []
    if not used:
        return
    words, said = words_of(app.env), []
    for target in used:
        inner = words.meaning[target].deepcopy()
        holder = nodes.container("", *inner.children)
        said.append(f'<div id="{_tip(target)}" role="tooltip">{app.builder.render_partial(holder)["fragment"]}</div>')
    context["body"] += f'<div class="book-tips" hidden>{"".join(said)}</div>'


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", mark, priority=900)
    app.connect("html-page-context", append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
