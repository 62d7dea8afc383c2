"""Titles, descriptions, licence and links out: what a page says of itself to those who have not read it."""

import re
import subprocess
import sys

import nbformat
from book_pages import ROOT, documents

PAGES = [*documents(), "search", "genindex"]
LINK = re.compile(r'href="(https?://[^"]+)"')
CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "head"]
project = html_title = "A book"
html_theme = "sphinx_book_theme"
html_theme_options = {{"path_to_docs": "book"}}
nb_execution_mode = "off"
book_repository = "https://github.com/somebody/a-book"
"""


def one(pattern: str, text: str, name: str) -> str:
    found = re.findall(pattern, text)
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def test_every_page_has_its_own_title_and_description(site):
    titles, descriptions = {}, {}
    for name in PAGES:
        page, _ = (site / f"{name}.html").read_text(encoding="utf-8").split("</head>", 1)  # drawings have titles too
        title = one(r"<title>([^<]*)</title>", page, name)
        said = one(r'<meta name="description" content="([^"]*)"', page, name)
        assert title.endswith("Structured Matrices, Live")
        assert 40 <= len(said) <= 280, f"{name}: {said}"
        assert not re.search(r"[\\$]|\[\w[^\]]*, \d{4}\]", said), f"{name}: {said}"
        assert titles.setdefault(title, name) == name, f"{name} and {titles[title]} share a title"
        assert descriptions.setdefault(said, name) == name, f"{name} and {descriptions[said]} share a description"


def test_every_page_says_its_licence(site):
    for name in PAGES:
        page = (site / f"{name}.html").read_text(encoding="utf-8")
        footer = page[page.index('<footer class="bd-footer-content">') :]
        assert "Code MIT" in footer, name
        assert '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>' in footer, name


def test_works_are_linked_and_no_button_points_at_an_address_that_is_not_there(site):
    links = {name: LINK.findall((site / f"{name}.html").read_text(encoding="utf-8")) for name in PAGES}
    assert sum("doi.org" in link for link in links["bibliography"]) > 15
    assert sum("arxiv.org/abs" in link for link in links["bibliography"]) > 25
    out = {link for found in links.values() for link in found}
    assert not {link for link in out if re.search("mybinder|colab|github.com/.*/edit", link)}


def test_one_line_puts_repository_edit_colab_and_binder_on_a_page(tmp_path):
    """A book of one notebook, built with that line."""
    (tmp_path / "conf.py").write_text(CONF.format(extensions=str(ROOT / "book" / "_ext")))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page\n\nIts first sentence.")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "index.ipynb")
    subprocess.run([sys.executable, "-m", "sphinx", "-q", tmp_path, tmp_path / "out"], check=True)
    links = set(LINK.findall((tmp_path / "out" / "index.html").read_text(encoding="utf-8")))
    assert {
        "https://github.com/somebody/a-book",
        "https://github.com/somebody/a-book/edit/main/book/index.md",
        "https://colab.research.google.com/github/somebody/a-book/blob/main/book/index.ipynb",
        "https://mybinder.org/v2/gh/somebody/a-book/main?urlpath=lab/tree/book/index.ipynb",
    } <= links
