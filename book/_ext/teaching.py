"""Sphinx extension: what a teacher needs, taken from the chapters when the book is built, so that it cannot go stale.

A page that holds ``%% objectives``, ``%% problems`` or ``%% solutions`` on a line of its own gets there what each
chapter teaches, all exercises, or all solutions. ``{minutes: 01 04}`` becomes the minutes of these chapters together.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chapter_map import read as read_chapter
from sphinx.application import Sphinx

_EXERCISE = re.compile(r"^(:{3,})\{exercise\}([^\n]*)\n((?::\w+:[^\n]*\n)*)(.*?)^\1\s*?$", re.M | re.S)
_LABEL = re.compile(r":label:\s*(ex-[\w-]+)")
_SOLUTION = re.compile(r"^`{3,}\{solution-start\}\s*(ex-[\w-]+)\n(?::\w+:.*\n)*`{3,}\s*$\n?", re.M)
_END = re.compile(r"^`{3,}\{solution-end\}\s*\n`{3,}\s*$\n?", re.M)
_OBJECTIVES = re.compile(r"\*\*You will be able to\*\*(.*?)\*\*You need\*\*", re.S)
_EXTRA = re.compile(r"You need\*\*.*?\bminutes\b.*?(\d+)\s+(?:minutes\s+)?for\s+the\s+exercises", re.S)


@dataclass
class Exercise:
    """An exercise and its solution as MyST text, links made to work from any page."""

    label: str
    title: str
    problem: list[str] = field(default_factory=list)
    solution: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lesson:
    """What a teacher asks of a chapter."""

    number: str
    page: str
    title: str
    needs: tuple[str, ...]
    minutes: int
    extra: int  # minutes for the exercises
    objectives: str
    exercises: tuple[Exercise, ...]


def portable(text: str, folder: str) -> str:
    """Text that may stand on another page: absolute links, no labels of its own."""

    def absolute(match: re.Match[str]) -> str:
        words, target = re.fullmatch(r"(?:(.*?)\s*<)?([^<>]*)>?", match[1], re.S).groups()
        target = target if target.startswith("/") else f"/{folder}/{target}"
        return f"{{doc}}`{words} <{target}>`" if words else f"{{doc}}`{target}`"

    text = re.sub(r"\{doc\}`([^`]*)`", absolute, text)
    text = re.sub(r"^:(?:label|name):.*\n|^\([\w-]+\)=\n", "", text, flags=re.M)
    return re.sub(r"(\$\$) *\([\w-]+\)\s*?$", r"\1", text, flags=re.M).strip()


def as_code(source: str) -> str:
    return f"````python\n{source.strip()}\n````"


def exercises(cells: list[dict[str, Any]], folder: str) -> Iterator[Exercise]:
    """The exercises of a notebook in order: text, the cell to fill in, and the solution's text and cells."""
    found: dict[str, Exercise] = {}
    asked = solving = ""
    for cell in cells:
        source = "".join(cell["source"])
        hidden = {"remove-input", "hide-input"} & set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "code":
            target = found[solving].solution if solving else found[asked].problem if asked else []
            if not hidden:
                target.append(as_code(source))
            continue
        if begin := _SOLUTION.search(source):
            solving, source = begin[1], source[begin.end() :]
        if solving:
            text, *rest = _END.split(source, maxsplit=1)
            found[solving].solution += [portable(text, folder)] if text.strip() else []
            if not rest:
                continue
            asked, solving, source = "", "", rest[0]
        if "\n## " in f"\n{source}":
            asked = ""
        for _, title, options, body in _EXERCISE.findall(source):
            asked = _LABEL.search(options)[1]
            found[asked] = Exercise(asked, title.strip(), [portable(body, folder)])
    yield from found.values()


def lessons(book: Path) -> list[Lesson]:
    """Every chapter as a teacher sees it, in the order of the book."""
    return [lesson(page) for page in sorted(book.glob("part*/*.ipynb"))]


def lesson(page: Path) -> Lesson:
    cells = json.loads(page.read_bytes())["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    said, extra = _OBJECTIVES.search(text), _EXTRA.search(text)
    if not said:
        raise ValueError(f"{page.name} must say **You will be able to** ... **You need** ...")
    chapter = read_chapter(page.with_suffix(".md"))
    objectives = portable(said[1], page.parent.name).rstrip(".").replace("\n", " ")
    found = tuple(exercises(cells, page.parent.name))
    minutes = int(extra[1]) if extra else 0
    return Lesson(
        chapter.number, chapter.page, chapter.title, chapter.needs, chapter.minutes, minutes, objectives, found
    )


def objectives(all_lessons: list[Lesson]) -> str:
    """One entry a chapter: what its reader will be able to do, what it needs, how long it takes."""
    numbers = {one.page.split("/")[1]: one.number for one in all_lessons}
    lines = []
    for one in all_lessons:
        needs = ", ".join(numbers[stem] for stem in one.needs)
        extra = f" ({one.extra} minutes)" if one.extra else ""
        facts = f"{one.minutes} minutes; {len(one.exercises)} exercises{extra}; needs {needs or 'no other chapter'}"
        lines += [f"**{one.number}. {{doc}}`/{one.page}`**", f": {one.objectives}.", "", f"  *{facts}.*", ""]
    return "\n".join(lines)


def bank(all_lessons: list[Lesson], part: str) -> str:
    """All exercises, or all solutions, under the titles of their chapters."""
    lines = []
    for one in all_lessons:
        lines += [f"## {one.number}. {one.title}", f"From {{doc}}`/{one.page}`.", ""]
        for exercise in one.exercises:
            lines += [f"### {exercise.title}", f"{{ref}}`{exercise.label}`.", ""]
            lines += [f"{text}\n" for text in getattr(exercise, part)]
    return "\n".join(lines)


def fill(text: str, all_lessons: list[Lesson]) -> str:
    """A page with its placeholders replaced."""
    for name, made in (
        ("objectives", lambda: objectives(all_lessons)),
        ("problems", lambda: bank(all_lessons, "problem")),
        ("solutions", lambda: bank(all_lessons, "solution")),
    ):
        if re.search(rf"^%% {name}$", text, re.M):
            text = text.replace(f"%% {name}", made())
    minutes = {one.number.zfill(2 + (not one.number[-1].isdigit())): one.minutes for one in all_lessons}

    def together(match: re.Match[str]) -> str:
        return str(sum(minutes[number] for number in match[1].split()))

    return re.sub(r"\{minutes:([^}]*)\}", together, text)


def source_read(app: Sphinx, page: str, source: list[str]) -> None:
    if re.search(r"^%% (?:objectives|problems|solutions)$|\{minutes:", source[0], re.M):
        book = Path(app.srcdir)
        for notebook in book.glob("part*/*.ipynb"):
            app.env.note_dependency(str(notebook))
        source[0] = fill(source[0], lessons(book))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", source_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
