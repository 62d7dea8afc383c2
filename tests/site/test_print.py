"""A page on paper, without a script, and narrower than what is on it."""

import pytest

CHAPTER = "part1/04_full_rank_from_n.html"
FOLDED = "() => [...document.querySelectorAll('.bd-article details:not([open])')].length"
# Each exercise, each solution and each heading of the first level, in the order of the page.
ORDER = """() => [...document.querySelectorAll(".bd-article :is(h2, div.exercise, div.solution)")]
  .map((it) => it.matches("h2") ? it.innerText.replace("#", "").trim()
    : it.matches(".exercise") ? "exercise" : "solution")"""


@pytest.fixture
def chapter(server, visit):
    tab = visit(server, viewport={"width": 794, "height": 1123})
    tab.page.goto(server + CHAPTER)
    tab.page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
    return tab


def printed(page):
    """The page as Chromium lays it out for its printer."""
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")


def test_on_paper_nothing_is_folded_and_solutions_come_last(chapter):
    page = chapter.page
    before, folded = page.evaluate(ORDER), page.evaluate(FOLDED)
    assert folded
    assert "Solutions" not in before
    printed(page)
    assert page.evaluate(FOLDED) == 0
    order = page.evaluate(ORDER)
    end = order.index("Solutions")
    assert "solution" not in order[:end]
    assert set(order[end + 1 :]) == {"solution"}
    assert order[end + 1 :].count("solution") == before.count("solution") == before.count("exercise")
    for shown in ("div.solution pre", ".surm-quiz .surm-choices p", ".surm-explore svg, .surm-explore img"):
        assert all(box.is_visible() for box in page.locator(f".bd-article {shown}").all()), shown
    for button in (".surm-controls", ".surm-press", ".prev-next-footer", ".bd-sidebar-primary"):
        assert not any(box.is_visible() for box in page.locator(button).all()), button
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert (page.evaluate(ORDER), page.evaluate(FOLDED)) == (before, folded)
    chapter.assert_clean()


def test_a_dark_page_is_printed_light(server, visit):
    page = visit(server, color_scheme="dark").page
    page.goto(server + CHAPTER)
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    printed(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_without_scripts_a_line_says_what_is_missing_and_nothing_else_is(server, visit):
    page = visit(server, java_script_enabled=False).page
    page.goto(server + CHAPTER)
    assert page.locator(".book-noscript").is_visible()
    assert page.locator(".surm-view").count() == page.locator(".surm-all pre").count() > 1
    assert all(first.is_visible() for first in page.locator(".surm-view > :first-child").all())
    assert not any(controls.is_visible() for controls in page.locator(".surm-controls").all())
    page.emulate_media(media="print")
    assert all(reason.is_visible() for reason in page.locator(".surm-quiz details p").all())
    page.goto(f"{server}map.html")
    assert not page.locator(".book-noscript").count()


def test_on_a_phone_what_is_too_wide_scrolls_by_keys(server, visit):
    tab = visit(server, viewport={"width": 390, "height": 800}, reduced_motion="reduce")
    page = tab.page
    page.goto(server + CHAPTER)
    page.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
    page.wait_for_timeout(300)  # phone.js looks after the formulas stand
    wide = page.locator(".bd-article :is(div.math, figure.surm-figure)[tabindex='0']")
    assert wide.count()
    box = wide.first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(box) => box.scrollLeft > 0", arg=box.element_handle())
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_function("() => !document.querySelector('.bd-article div.math[tabindex]')")
    tab.assert_clean()
