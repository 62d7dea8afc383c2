"""What `tools/book.py` builds again: an edited chapter alone, everything where other pages show what changed."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import book  # noqa: E402  (tools/ is a folder of scripts, not a package)

TEXT = """# A title

Words about {prf:ref}`thm-a`.

:::{prf:theorem} Its name
:label: thm-a
It holds.
:::

$$ a = b $$ (eq-a)
"""


@pytest.fixture
def tree(tmp_path):
    """A small book: two chapters, a page beside them, a style, a library."""
    for name in ("book/part1/01_a.ipynb", "book/part1/02_b.ipynb"):
        figure = '<figure class="surm-figure" data-name="fig-a"><svg/><figcaption>Two.</figcaption></figure>'
        shown = nbformat.v4.new_output("display_data", {"text/html": figure})
        code = nbformat.v4.new_code_cell("1 + 1", outputs=[shown])
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(TEXT), code])
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, tmp_path / name)
    for name in (
        "book/index.md",
        "book/_assets/book.css",
        "book/_toc.yml",
        "_config.yml",
        "pyproject.toml",
        "surm_lite/a.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"), [("Words", "More words"), ("1 + 1", "1 + 2"), ("It holds", "It fails"), ("a = b", "b = a")]
)
def test_an_edited_chapter_is_built_alone(tree, old, new):
    before = book.made_from(tree)
    assert book.changed(before, book.made_from(tree)) == []
    edit(tree / "book/part1/02_b.ipynb", old, new)
    assert book.changed(before, book.made_from(tree)) == ["book/part1/02_b.ipynb"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("book/part1/02_b.ipynb", "# A title", "# Another title"),
        ("book/part1/02_b.ipynb", ":label: thm-a", ":label: thm-b"),
        ("book/part1/02_b.ipynb", "Its name", "Her name"),
        ("book/part1/02_b.ipynb", "(eq-a)", "(eq-b)"),
        ("book/part1/02_b.ipynb", "Two.", "Three."),
        ("book/part1/02_b.ipynb", '"metadata": {}', '"metadata": {"needs": ["01_a"]}'),
        ("book/index.md", "old", "new"),
        ("book/_assets/book.css", "old", "new"),
        ("book/_toc.yml", "old", "new"),
        ("_config.yml", "old", "new"),
        ("surm_lite/a.py", "old", "new"),
    ],
)
def test_what_other_pages_show_builds_all(tree, name, old, new):
    before = book.made_from(tree)
    edit(tree / name, old, new)
    assert book.changed(before, book.made_from(tree)) is None


def test_a_new_chapter_and_a_first_build_take_all(tree):
    before = book.made_from(tree)
    (tree / "book/part1/03_c.ipynb").write_text((tree / "book/part1/01_a.ipynb").read_text())
    assert book.changed(before, book.made_from(tree)) is None
    assert book.changed(None, before) is None


def test_the_markdown_twin_of_a_chapter_is_not_what_the_site_is_made_of(tree):
    before = book.made_from(tree)
    (tree / "book/part1/01_a.md").write_text("edited, not run yet")
    assert book.changed(before, book.made_from(tree)) == []
