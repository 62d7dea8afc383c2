"""A registered method is a whole one: nothing that its line in the registry promises is missing."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

from surm_lite.adapters import METHODS
from surm_lite.checks import METHOD_CHECKS
from surm_lite.comparison.plans import PLANS
from surm_lite.viz import family_style

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import taught  # noqa: E402  (a Sphinx extension, not a package)

SECTIONS = ["Args", "Returns", "Raises", "Cost", "Example", "Source", "Taught in"]
PARENTS = {"bone": "miss"}
"""An alias says what it inherits once, under the other name."""


@cache
def words(source: str) -> set[str]:
    """Names and string constants of a piece of Python, each whole."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def code(chapter: Path) -> str:
    cells = nbformat.read(chapter, 4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def identities() -> list[Path]:
    """Tests that hold a method against its paper, its dense weight or another library."""
    return [path for kind in ("zoo", "adapters", "hf_numbers") for path in (ROOT / "tests").glob(f"test_{kind}*.py")]


def look(name: str) -> tuple[str, str]:
    """Colour and mark: the dash is not to be seen where a method is one point."""
    style = family_style(name)
    return style["color"], style["marker"]


def lacks(name: str) -> list[str]:
    """What a method of the registry lacks."""
    method, missing = METHODS[name], []
    called = {name, method.__name__}
    text = inspect.getdoc(method) or ""
    found = re.findall(rf"^({'|'.join(SECTIONS)}):", text, re.M)
    wanted = {"Example", "Source", "Taught in"} | (set() if name in PARENTS else {"Cost"})
    if method.__doc__ is None or found != [one for one in SECTIONS if one in found] or not wanted <= set(found):
        missing.append(f"docstring: has {found}, needs {sorted(wanted)} in the order {SECTIONS}")
    if method.wraps and "``" not in text.split("Args:")[0]:
        missing.append("docstring: a formula")
    stems = taught.chapters_of(text)
    pages = {stem: next((ROOT / "book").glob(f"part*/{stem}.ipynb"), None) for stem in stems}
    if not any(page and called & words(code(page)) for page in pages.values()):
        missing.append(f"chapter: none of {stems} runs it")
    if not any(called & words(path.read_text(encoding="utf-8")) for path in identities()):
        missing.append("oracle: no test of identities names it")
    if method.wraps and not ({"forward", "gradients", "merging"} <= set(METHOD_CHECKS)):
        missing.append("oracle: the contract no longer holds it against its dense weight")
    if method.wraps and not list(method().sizes(384, 384)):
        missing.append("sizes")
    if [arm.method for key, arm in PLANS["leaderboard"].arms.items() if key == name] != [name]:
        missing.append("a row of the comparison")
    if look(name) in [look(other) for other in METHODS if other != name]:
        missing.append("a look of its own")
    capabilities = json.loads((ROOT / "benchmarks" / "results" / "capabilities.json").read_text(encoding="utf-8"))
    if name not in capabilities["rows"]:
        missing.append("a row of the capability table")
    return missing


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_missing(name):
    assert not lacks(name)


def test_what_is_missing_is_noticed(monkeypatch):
    """A method of which nothing but its registry line exists."""
    bare = type(
        "NoSuchMethod",
        (METHODS["lora"],),
        {"__doc__": None, "name": "no_such_method", "sizes": lambda self, m, n: iter(())},
    )
    monkeypatch.setitem(METHODS, "no_such_method", bare)
    monkeypatch.setattr(sys.modules[__name__], "family_style", lambda name: {"color": "c", "marker": "o"})
    said = [one.split(":")[0] for one in lacks("no_such_method")]
    assert said == [
        "docstring", "chapter", "oracle", "sizes", "a row of the comparison", "a look of its own",
        "a row of the capability table",
    ]  # fmt: skip
