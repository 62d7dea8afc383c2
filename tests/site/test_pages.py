"""Every page, on http and from a folder: no script error, no missing file, nothing from another host."""

import re

import pytest
from book_pages import documents, notebooks
from playwright.sync_api import expect

EXTRA = ["search", "genindex"]


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_pages_need_only_themselves(scheme, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own)
    for name in documents() + EXTRA:
        tab.page.goto(f"{own}{name}.html", wait_until="load")
        if tab.page.locator(".math").count():
            tab.page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
            assert not tab.page.locator("mjx-merror").count(), f"{name}: a formula that MathJax cannot read"
    tab.assert_clean()


def test_no_page_is_wider_than_a_phone(server, visit):
    tab = visit(server, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    for name in documents():
        tab.page.goto(f"{server}{name}.html", wait_until="load")
        width = tab.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{name} is {width} px wide"


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


def test_the_notebook_can_be_downloaded(site, visit):
    tab = visit(site.as_uri())
    for name in notebooks():
        tab.page.goto(f"{site.as_uri()}/{name}.html")
        link = tab.page.locator("a.btn-download-source-button").get_attribute("href")
        assert (site / f"{name}.html").parent.joinpath(link).resolve().suffix == ".ipynb"
        assert (site / f"{name}.html").parent.joinpath(link).resolve().exists()


def test_every_picture_has_words(site):
    for name in documents():
        page = (site / f"{name}.html").read_text(encoding="utf-8")
        for tag in re.findall(r"<img\b[^>]*>", page):
            assert re.search(r'alt="[^"]+"', tag), f"{name}: {tag[:150]}"
