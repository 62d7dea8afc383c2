"""Sphinx extension: the links between the functions of the library and the chapters that teach them.

A docstring names its chapters ("Taught in: 04_full_rank_from_n"); the reference page turns the names into links, and a
chapter's ``{taught}`` directive lists the functions that name it. Neither list is kept by hand.
"""

import inspect
import re
from itertools import zip_longest
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_STEM = re.compile(r"\d\d\w?_\w+")
_CHAPTERS = re.compile(rf"(?:[ \t]*{_STEM.pattern},?[ \t]*)+")
_SECTION = re.compile(rf"^[ \t]*Taught in:[ \t]*\n?((?:[ \t]*{_STEM.pattern},?[ \t]*\n?)+)", re.M)
_FORMULA = re.compile(r"^\$\$ (.+?) \$\$$", re.M | re.S)  # on lines of its own, as the chapters write it


def chapters_of(docstring: str | None) -> list[str]:
    """The chapter stems that a docstring names."""
    return [stem for section in _SECTION.findall(docstring or "") for stem in _STEM.findall(section)]


def public() -> dict[str, Any]:
    """What a reader may call, by the name that the reference gives it."""
    import surm_lite.checks  # here: where one chapter is built again, torch need not start
    import surm_lite.comparison
    import surm_lite.data
    import surm_lite.models
    import surm_lite.viz
    from surm_lite.adapters import METHODS

    found = {name: getattr(surm_lite, name) for name in surm_lite.__all__}
    for module in (surm_lite.checks, surm_lite.comparison, surm_lite.data, surm_lite.models, surm_lite.viz):
        short = module.__name__.removeprefix("surm_lite.")
        found |= {f"{short}.{name}": getattr(module, name) for name in module.__all__ if name not in found}
    found |= {f"adapters.{method.__name__}": method for method in METHODS.values()}
    return {name: thing for name, thing in found.items() if inspect.isclass(thing) or inspect.isroutine(thing)}


def functions_by_chapter() -> dict[str, list[tuple[str, str]]]:
    """Chapter stem -> public names of the library that it teaches, each with what it does in one line."""
    taught: dict[str, list[tuple[str, str]]] = {}
    for name, thing in sorted(public().items()):
        docstring = inspect.getdoc(thing) or ""
        for stem in chapters_of(docstring):
            taught.setdefault(stem, []).append((name, docstring.split("\n")[0].replace("``", "")))
    return taught


def as_restructured_text(line: str) -> str:
    """Our docstrings are plain text with ``literals``, **bold** and lists: what else reST would read is escaped."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    bullet, text = re.fullmatch(r"(\s*(?:\* )?)(.*)", line).groups()
    parts = re.split(r"(``.*?``|\*\*\w[^*]*\*\*)", text)
    parts[::2] = [re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", plain) for plain in parts[::2]]
    return bullet + "".join(parts)


def prepare(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """A docstring on its way to the page: formulas are set, what is no markup is escaped, chapters are linked."""
    if what in ("property", "attribute") and lines:  # napoleon would take what stands before a colon for a type
        lines[0] = lines[0].replace(": ", " – ", 1)
    pages = {page.rsplit("/", 1)[-1]: page for page in app.env.found_docs}

    def linked(stem: re.Match[str]) -> str:
        return f":doc:`/{pages[stem[0]]}`" if stem[0] in pages else stem[0]

    parts = _FORMULA.split("\n".join(lines))
    lines.clear()
    for words, formula in zip_longest(parts[::2], parts[1::2]):
        for line in words.split("\n"):
            is_list = _CHAPTERS.fullmatch(line)
            lines.append(_STEM.sub(linked, line) if is_list else as_restructured_text(line))
        if formula:
            lines += [".. math::", "", *(f"   {line.strip()}" for line in formula.split("\n")), ""]


class Taught(SphinxDirective):
    """``{taught}``: the functions of the library that name this chapter in their docstring."""

    def run(self) -> list[nodes.Node]:
        stem = self.env.docname.rsplit("/", 1)[-1]
        if not hasattr(
            self.env, "surm_taught"
        ):  # kept with the pages: tools/book.py builds all when the library changes
            self.env.surm_taught = functions_by_chapter()
        taught = self.env.surm_taught.get(stem, [])
        if not taught:
            raise self.error(f"no public function of surm_lite names {stem} under 'Taught in:'")
        listing = nodes.bullet_list(classes=["surm-taught"])
        for name, summary in taught:
            target = f"surm_lite.{name}"
            link = addnodes.pending_xref(
                "", nodes.literal(name, name), refdomain="py", reftype="obj", reftarget=target, refwarn=True
            )
            listing += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(f": {summary}")))
        return [listing]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("taught", Taught)
    # Before napoleon (priority 500), which would take the sections apart.
    app.connect("autodoc-process-docstring", prepare, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
