"""Every public name says what it does, what it costs, where it comes from and which chapter teaches it."""

import inspect
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import taught  # noqa: E402  (a Sphinx extension, not a package)

import surm_lite  # noqa: E402
from surm_lite.adapters import METHODS  # noqa: E402


def is_exception(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Exception)


SECTIONS = ["Args", "Returns", "Raises", "Cost", "Example", "Source", "Taught in"]
PUBLIC = {
    name: thing for name, thing in taught.public().items() if name in surm_lite.__all__ and not is_exception(thing)
}
CHAPTERS = sorted(page.stem for page in (ROOT / "book").glob("part*/*.md"))


def sections(thing: object) -> list[str]:
    return re.findall(rf"^({'|'.join(SECTIONS)}):", inspect.getdoc(thing) or "", re.M)


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - {"StructuredMatrix"}))
def test_sections(name):
    """All sections where they apply, in one order. StructuredMatrix is the exception: it states the contract."""
    thing, found = PUBLIC[name], sections(PUBLIC[name])
    assert found == [section for section in SECTIONS if section in found], f"the order is {SECTIONS}"
    wanted = {"Example", "Taught in"}
    if thing.__module__.startswith("surm_lite.matrices"):
        wanted |= {"Cost", "Source"}  # mathematics has a price and an author; a file format or a loop need not
    if inspect.signature(thing).parameters:
        wanted.add("Args")
    assert wanted <= set(found), f"missing: {sorted(wanted - set(found))}"
    assert ">>>" in inspect.getdoc(thing), "the example is a doctest"
    first = inspect.getdoc(thing).split("\n")[0]
    assert first.endswith((".", ":")), "the first line is a sentence"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_chapters_named_by_functions_exist(name):
    for stem in taught.chapters_of(inspect.getdoc(PUBLIC[name])):
        assert stem in CHAPTERS, f"{name} is taught in {stem}, which is not one of {CHAPTERS}"


@pytest.mark.parametrize("stem", CHAPTERS)
def test_chapters_and_functions_name_each_other(stem):
    """A chapter lists its functions by {taught}; every function of that list is really used in the chapter."""
    page = next((ROOT / "book").glob(f"part*/{stem}.md")).read_text(encoding="utf-8")
    assert re.search(r"^(:::|```)\{taught\}", page, re.M), "the chapter lists its functions by {taught}"
    names = [name for name, _ in taught.functions_by_chapter().get(stem, [])]
    assert names, f"no function says that {stem} teaches it"
    called = {f"adapters.{method.__name__}": name for name, method in METHODS.items()}  # a method goes by its own name
    unused = [name for name in names if not re.search(rf"\b{called.get(name, name.rsplit('.', 1)[-1])}\b", page)]
    assert not unused, f"{stem} never mentions {unused}, although their docstrings say that it teaches them"


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "book" / "api").glob("*.md"))
    documented = re.findall(r"auto(?:class|function|exception):: (\w+)", pages)
    assert len(documented) == len(set(documented)), "documented twice"
    missing = [name for name in taught.public() if name.rsplit(".", 1)[-1] not in documented]
    assert not missing, missing


def test_a_docstring_on_its_way_to_the_reference():
    """Formulas reach the page as the chapters write them, all chapters are links, all else is plain text."""
    app = SimpleNamespace(env=SimpleNamespace(found_docs={"part3/21_finetune_vit", "part4/42_your_own_data"}))
    lines = [
        "One *word*.",
        "",
        "$$ \\tfrac12 a_i^*,",
        "   b $$",
        "",
        "Taught in:",
        "    21_finetune_vit, 42_your_own_data",
    ]
    taught.prepare(app, "function", "f", None, None, lines)
    assert [line for line in lines if line] == [
        "One \\*word\\*.", ".. math::", "   \\tfrac12 a_i^*,", "   b",
        "Taught in:", "    :doc:`/part3/21_finetune_vit`, :doc:`/part4/42_your_own_data`",
    ]  # fmt: skip
    assert lines[lines.index(".. math::") + 1] == ""


@pytest.mark.parametrize("name", sorted(taught.public()))
def test_every_formula_of_a_docstring_is_set(name):
    rest = re.sub(r"``.*?``", "", taught._FORMULA.sub("", inspect.getdoc(taught.public()[name]) or ""))
    assert "$" not in rest, "a formula stands between $$ and $$, on lines of its own"
