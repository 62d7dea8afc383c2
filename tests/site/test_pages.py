"""Pages as files, and the search."""

import re

import nbformat
import pytest
from book_pages import ROOT, documents, notebooks
from playwright.sync_api import expect


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_works_without_a_network(scheme, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own)
    tab.page.goto(f"{own}search.html?q=displacement")
    expect(tab.page.locator("#search-results li").first).to_be_visible(timeout=15_000)
    tab.assert_clean()


def test_without_javascript_every_explorable_has_a_first_frame_and_all_numbers(site):
    """``test_print.py`` looks at one of them in a browser: the style is the same for all."""
    for name in notebooks():
        page = (site / f"{name}.html").read_text(encoding="utf-8")
        forms = re.findall(r'<form class="surm-explore".*?</form>', page, re.S)
        assert forms, name
        for form in forms:
            assert re.search(r'<div class="surm-view"[^>]*>\s*<(?!/)', form), name
            assert re.search(r'class="surm-all".*?<pre[^>]*>[^<]*\n[^<]*</pre>', form, re.S), name


def test_all_notebooks_are_offered_in_one_zip(site):
    link = re.search(r'href="([^"]+\.zip)"', (site / "index.html").read_text(encoding="utf-8"))
    assert (site / link[1]).stat().st_size > 1_000_000


def test_what_a_notebook_carries_for_jupyterlab_is_not_on_the_page(site):
    for name in notebooks():
        page = (site / f"{name}.html").read_text(encoding="utf-8")
        assert "surm-lab" not in page
        assert 'data-name="fig-' not in page
        cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", 4).cells
        named = [known for cell in cells for known in re.findall(r'\bname="(fig-[\w-]+)",\n', cell.source)]
        for known in named:  # a figure of the page, with a number
            assert re.search(rf'<figure[^>]* id="{known}">.*?<span class="caption-number">', page, re.S), known


def test_every_picture_has_words(site):
    for name in documents():
        page = (site / f"{name}.html").read_text(encoding="utf-8")
        for tag in re.findall(r"<img\b[^>]*>", page):
            assert re.search(r'alt="[^"]+"', tag), f"{name}: {tag[:150]}"
