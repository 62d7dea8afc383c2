"""Pages from a folder, without a script, as files: nothing missing, nothing from another host."""

import re

import nbformat
import pytest
from book_pages import ROOT, documents, notebooks
from playwright.sync_api import expect


def test_opened_from_a_folder_pages_need_only_themselves(site, visit):
    tab = visit(site.as_uri())
    for name in notebooks():
        tab.page.goto(f"{site.as_uri()}/{name}.html", wait_until="load")
        form = tab.page.locator("form.surm-explore").first
        view = form.locator(".surm-view").element_handle()
        before = view.inner_html()
        control = form.locator("[data-size] input:checked, [data-size] input[type=range]").first
        at_the_end = control.evaluate("(it) => it.type === 'range' && it.value === it.max")
        control.press("ArrowLeft" if at_the_end else "ArrowRight")
        tab.page.wait_for_function("([view, before]) => view.innerHTML !== before", arg=[view, before])
    tab.assert_clean()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_works_without_a_network(scheme, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own)
    tab.page.goto(f"{own}search.html?q=displacement")
    expect(tab.page.locator("#search-results li").first).to_be_visible(timeout=15_000)
    tab.assert_clean()


def test_without_javascript_the_first_frame_is_there(site, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in notebooks():
        page.goto(f"{site.as_uri()}/{name}.html")
        for form in page.locator("form.surm-explore").all():
            expect(form.locator(".surm-view > *").first).to_be_visible()
            expect(form.locator(".surm-controls")).to_be_hidden()
            assert form.locator(".surm-all pre").text_content().count("\n") > 0
    context.close()


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
