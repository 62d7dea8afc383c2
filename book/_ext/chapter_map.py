"""Sphinx extension: ``{chapter-map}``, what needs what, drawn from the sentence "You need ..." of every chapter.

A picture from left to right where there is room, a list everywhere: the same links, by keyboard too.
"""

import html
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_NEEDS = re.compile(r"You\s+need\b(.*?)\.\s(?:.*?\s)?(\d+)\s+minutes", re.S)  # what stands in that sentence alone
_LINK = re.compile(r"\{doc\}`(?:[^`<]*<)?/?(?:\w+/)*(\d\d\w*)>?`")

BOX, GAP = (102, 64), (14, 8)  # pixels: a chapter, and the room between two
LINE, LETTERS = 14, 17  # of its title


@dataclass(frozen=True)
class Chapter:
    """What the map shows of one: ``needs`` are stems, each of a chapter that comes before."""

    stem: str
    page: str
    title: str
    needs: tuple[str, ...]
    minutes: int

    @property
    def number(self) -> str:
        return _short(self.stem).lstrip("0")


def read(page: Path) -> Chapter:
    """A chapter by its text; a ValueError where it does not say what it needs and how long it takes."""
    text = page.read_text(encoding="utf-8")
    title, said = re.search(r"^# (.*)", text, re.M), _NEEDS.search(text)
    if not title or not said:
        raise ValueError(f"{page.name} must have a title and a sentence 'You need ... NN minutes'")
    needs = tuple(dict.fromkeys(_LINK.findall(said.group(1))))
    name = f"{page.parent.name}/{page.stem}"
    return Chapter(page.stem, name, title.group(1).replace("$", ""), needs, int(said.group(2)))


def read_all(book: Path) -> dict[str, Chapter]:
    """Every chapter by its stem, in the order of the book."""
    return {page.stem: read(page) for page in sorted(book.glob("part*/*.md"))}


def columns(chapters: Mapping[str, Chapter]) -> dict[str, int]:
    """How many chapters in a row must be read before each: the longest way to it."""
    found: dict[str, int] = {}
    for stem, chapter in chapters.items():
        if late := [need for need in chapter.needs if need not in found]:
            raise ValueError(f"{stem} needs {late}, must need chapters that come before it")
        found[stem] = 1 + max((found[need] for need in chapter.needs), default=-1)
    return found


def direct(chapters: Mapping[str, Chapter]) -> set[tuple[str, str]]:
    """The lines to draw: a need that another need has already is left out."""
    behind: dict[str, set[str]] = {}
    for stem, chapter in chapters.items():
        behind[stem] = set(chapter.needs).union(*(behind[need] for need in chapter.needs))
    return {
        (need, stem)
        for stem, chapter in chapters.items()
        for need in chapter.needs
        if not any(need in behind[other] for other in chapter.needs)
    }


def picture(chapters: Mapping[str, Chapter], addresses: Mapping[str, str]) -> str:
    """The map as SVG; a chapter that is pointed at lights up what it needs and what needs it."""
    column, rows = columns(chapters), {}
    places = {}
    for stem, k in column.items():
        rows[k] = rows.get(k, -1) + 1
        places[stem] = (k * (BOX[0] + GAP[0]), rows[k] * (BOX[1] + GAP[1]))
    width = max(x for x, _ in places.values()) + BOX[0]
    height = max(y for _, y in places.values()) + BOX[1]
    lines, boxes, looks = [], [], []
    for need, stem in sorted(direct(chapters)):
        (x, y), (to_x, to_y) = places[need], places[stem]
        x, y, to_y, bend = x + BOX[0], y + BOX[1] / 2, to_y + BOX[1] / 2, GAP[0]
        path = f"M{x},{y:g} C{x + bend},{y:g} {to_x - bend},{to_y:g} {to_x},{to_y:g}"
        lines.append(f'<path class="from-{_short(need)} to-{_short(stem)}" d="{path}"/>')
    for stem, chapter in chapters.items():
        x, y = places[stem]
        words = textwrap.wrap(f"{chapter.number}. {chapter.title}", LETTERS)
        words = words if len(words) <= 4 else [*words[:3], f"{words[3][: LETTERS - 1]}…"]
        top = y + BOX[1] / 2 - LINE * (len(words) - 1) / 2 + 4
        said = "".join(
            f'<tspan x="{x + 6}" y="{top + LINE * k:g}">{html.escape(line)}</tspan>' for k, line in enumerate(words)
        )
        name = _short(stem)
        boxes.append(
            f'<a class="at-{name}" href="{addresses[stem]}"><title>{html.escape(chapter.title)}</title>'
            f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/><text>{said}</text></a>'
        )
        looks.append(f".book-map svg:has(.at-{name}:is(:hover,:focus)) :is(.from-{name},.to-{name})")
    look = f"{','.join(looks)}{{stroke:var(--surm-displacement);stroke-width:2.5}}"
    return (
        f'<svg viewBox="-2 -2 {width + 4} {height + 4}" width="{width + 4}" height="{height + 4}" role="group" '
        f'aria-label="Map of the chapters"><style>{look}</style><g>{"".join(lines)}</g>{"".join(boxes)}</svg>'
    )


def _short(stem: str) -> str:
    return stem.split("_")[0]


def listing(chapters: Mapping[str, Chapter], addresses: Mapping[str, str]) -> str:
    """The same in words."""

    def link(stem: str, words: str) -> str:
        return f'<a href="{addresses[stem]}">{html.escape(words)}</a>'

    def item(chapter: Chapter) -> str:
        needs = [link(need, chapters[need].number) for need in chapter.needs]
        said = f"needs {', '.join(needs)}" if needs else "can be read first"
        title = link(chapter.stem, f"{chapter.number}. {chapter.title}")
        return f"<li>{title} <span>{said}; {chapter.minutes} minutes</span></li>"

    return f"<ul>{''.join(map(item, chapters.values()))}</ul>"


class ChapterMap(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        chapters = read_all(Path(self.env.srcdir))
        for chapter in chapters.values():
            self.env.note_dependency(str(Path(self.env.srcdir) / f"{chapter.page}.md"))
        uri = self.env.app.builder.get_relative_uri
        addresses = {stem: uri(self.env.docname, chapter.page) for stem, chapter in chapters.items()}
        drawn = f'<div class="book-map">{picture(chapters, addresses)}{listing(chapters, addresses)}</div>'
        return [nodes.raw("", drawn, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapter-map", ChapterMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
