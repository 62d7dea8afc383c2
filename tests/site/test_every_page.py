"""What holds of every page: each is loaded once, from a folder, and all tests that look at it follow one another.

From a folder a page can do less than from a server (no module, no fetch), so what works here works there too; the tests
of guide, questions and printing take a server.
"""

import functools
import json

import pytest
from accessibility import violations
from book_pages import ROOT, Visit, documents, notebooks
from explorables import compare, of_notebook, read_all
from playwright.sync_api import Page, expect

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
WHOLE = ("index", "part1/01_low_rank")  # asked everything in every view


@pytest.fixture(scope="module")
def desktop(site, visit) -> Visit:
    return visit(site.as_uri(), viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")


@pytest.fixture(scope="module", params=[*documents(), "search", "genindex"])
def name(request, site, desktop) -> str:
    """The page that the tab shows now."""
    page = desktop.page
    page.goto("about:blank")  # so that no long page is laid out once more
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    for noted in (desktop.foreign, desktop.errors, desktop.missing):
        noted.clear()
    page.goto(f"{site.as_uri()}/{request.param}.html", wait_until="load")
    return request.param


# The size in pixels of each label of the figures, as shown: matplotlib draws glyphs 100 high and scales them.
LABELS = """() => [...document.querySelectorAll(".surm-figure svg :is(text, g[transform*=' scale('])")]
  .filter((it) => it.checkVisibility())
  .map((it) => [it, it.getScreenCTM()])
  .map(([it, to]) => Math.hypot(to.c, to.d) * (it.matches("text") ? parseFloat(getComputedStyle(it).fontSize) : 100))
"""


# How far from the left edge of its box each formula begins.
STARTS = """() => [...document.querySelectorAll(".bd-article div.math")]
  .map((it) => it.querySelector("mjx-container").getBoundingClientRect().left - it.getBoundingClientRect().left)
"""


@functools.cache
def said(name: str) -> list[list[str]]:
    return of_notebook(ROOT / "book" / f"{name}.ipynb") if name in notebooks() else []


def test_its_formulas_can_be_read(name, desktop):
    if desktop.page.locator(".math").count():
        desktop.page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
        assert not desktop.page.locator("mjx-merror").count()


def test_a_chapter_uses_words_of_the_glossary(name, desktop):
    if name.startswith("part"):
        assert desktop.page.locator("a.book-term[aria-describedby]").count() >= 4


def test_an_explorable_stands_within_two_screens(name, desktop):
    if desktop.page.locator(".surm-quiz[data-kind=quiz]").count():
        top = desktop.page.locator("form.surm-explore").first.evaluate(
            "(it) => it.getBoundingClientRect().top + scrollY"
        )
        assert top <= 2 * DESKTOP["height"]


def test_a_notebook_can_be_downloaded(name, desktop, site):
    if name not in notebooks():
        return
    link = desktop.page.locator("a.btn-download-source-button").get_attribute("href")
    offered = (site / f"{name}.html").parent.joinpath(link).resolve()
    assert offered.suffix == ".ipynb"
    assert ('"id": "needs"' in offered.read_text(encoding="utf-8")) == name.startswith("part"), (
        "it checks what it needs"
    )


def test_arrow_keys_reach_every_choice(name, desktop):
    for form in desktop.page.locator("form.surm-explore").all():
        for control in form.locator("[data-size]").all():
            current = control.locator("input:checked, input[type=range]")
            choices = control.locator("input + span").all_text_contents()
            if (slider := control.locator("input[type=range]")).count():
                choices = json.loads(slider.get_attribute("data-shown"))
                slider.press("Home")
            reached = set()
            for _ in choices:
                reached.add(control.locator("output, input:checked + span").text_content())
                current.press("ArrowRight")
            assert reached == set(choices)
        expect(form.locator(".surm-status"), "the new numbers are announced").not_to_be_empty()


def test_every_position_shows_what_the_notebook_says(name, desktop):
    forms = desktop.page.locator("form.surm-explore")
    assert forms.count() == len(said(name))
    assert forms.count() or name not in notebooks(), "the landing page and every chapter have something to move"
    for number, lines in enumerate(said(name)):
        frames = read_all(forms.nth(number))
        compare(frames, lines)
        if any(frame["pictures"] for frame in frames):
            assert len({str(frame["pictures"]) for frame in frames}) > 1, "the picture never changes"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_desktop_axe_has_nothing_to_complain_about(scheme, name, desktop):
    """Darkness changes nothing but colours: only the pages of ``WHOLE`` are asked everything once more."""
    wear(scheme, desktop.page)
    found = violations(desktop.page, others=scheme == "light" or name in WHOLE)
    assert not found, "\n".join(found)


def test_it_is_no_wider_than_a_phone(name, desktop):
    desktop.page.set_viewport_size(PHONE)
    assert desktop.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_wide_formula_shows_its_beginning_on_a_phone(name, desktop):
    starts = desktop.page.evaluate(STARTS)
    assert all(start > -1 for start in starts), sorted(starts)[:9]


def test_labels_of_figures_can_be_read_on_a_phone(name, desktop):
    sizes = desktop.page.evaluate(LABELS)
    assert all(size > 8.95 for size in sizes), sorted(sizes)[:9]
    assert sizes or not desktop.page.locator(".surm-figure svg").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_axe_has_nothing_to_complain_about(scheme, name, desktop):
    """Width changes no colour, so darkness is left to the pages of ``WHOLE``."""
    if scheme == "dark" and name not in WHOLE:
        return
    if scheme == "light":
        desktop.page.wait_for_timeout(400)  # the theme looks 300 ms after a resize which listings scroll now
    wear(scheme, desktop.page)
    found = violations(desktop.page, colours=name in WHOLE)
    assert not found, "\n".join(found)


def wear(scheme: str, page: Page) -> None:
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)


def test_it_needed_only_itself(name, desktop):
    """The last look at a page: no script error, no missing file, nothing from another host, whatever was done on it."""
    desktop.assert_clean()
