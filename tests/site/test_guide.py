"""Definitions on hover and focus, ticks, the way back, the map, explorables that keep still."""

import pytest
from book_pages import documents
from playwright.sync_api import expect

PHONE = {"width": 390, "height": 800}
# Every position of every control, one control at a time; the heights that the form took.
HEIGHTS = """async (form) => {
  const heights = new Set([form.offsetHeight]);
  for (const control of form.querySelectorAll("[data-size]")) {
    const inputs = control.querySelectorAll("input");
    for (let k = 0; k < Number(control.dataset.size); k++) {
      if (inputs[0].type === "radio") inputs[k].checked = true; else inputs[0].value = k;
      inputs[0].dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((r) => setTimeout(r, 50));
      heights.add(form.offsetHeight);
    }
  }
  return [...heights];
}"""


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_finished_check_is_ticked_and_the_landing_page_leads_back(scheme, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own)
    page, chapter = tab.page, f"{own}part1/01_low_rank.html"
    page.goto(f"{own}index.html")
    expect(page.locator(".book-way-back")).to_be_hidden()
    page.goto(chapter)
    tick = page.locator(".bd-links a.book-checked")
    right = page.locator(".surm-quiz[data-kind=quiz] .surm-right summary").all()
    for summary in right[:-1]:
        summary.click()
    expect(tick).to_have_count(0)
    right[-1].click()
    expect(tick).to_have_count(1)
    page.locator("#exercises").scroll_into_view_if_needed()
    page.locator("#exercises").evaluate("(it) => it.scrollIntoView()")
    page.goto(f"{own}index.html")
    back = page.locator(".book-way-back")
    expect(back).to_contain_text("Go on where you were: 1. What can")
    expect(back).to_contain_text("1 of ")
    expect(tick).to_have_count(1)
    assert back.locator("a").get_attribute("href") == "part1/01_low_rank.html#exercises"
    back.locator("button").press("Enter")
    expect(back).to_be_hidden()
    expect(tick).to_have_count(0)
    page.goto(chapter)
    expect(page.locator(".surm-mark")).to_have_count(0)
    tab.assert_clean()


def test_a_definition_shows_on_hover_and_on_focus_and_escape_closes_it(server, visit):
    tab = visit(server)
    page = tab.page
    page.goto(f"{server}part2/05_displacement.html")
    word, bubble = page.locator("a.book-term", has_text="displacement rank").first, page.locator(".book-bubble")
    expect(bubble).to_be_hidden()
    word.hover()
    expect(bubble).to_contain_text("The rank of the displacement.")
    bubble.hover()  # it stays while one reads it
    page.wait_for_timeout(400)
    expect(bubble).to_be_visible()
    page.keyboard.press("Escape")
    expect(bubble).to_be_hidden()
    word.focus()
    expect(bubble).to_be_visible()
    assert word.evaluate("(link) => document.getElementById(link.getAttribute('aria-describedby')).textContent")
    tab.assert_clean()


def test_the_first_touch_shows_a_definition_and_the_second_follows_it(server, visit):
    tab = visit(server, viewport=PHONE, has_touch=True, is_mobile=True)
    page = tab.page
    page.goto(f"{server}part2/05_displacement.html")
    word = page.locator("a.book-term", has_text="displacement rank").first
    word.tap()
    bubble = page.locator(".book-bubble")
    expect(bubble).to_be_visible()
    box = bubble.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    word.tap()
    page.wait_for_url("**/glossary.html#term-displacement-rank")


def test_the_map_leads_to_every_chapter(site, server, visit):
    tab = visit(server, viewport={"width": 1280, "height": 900})
    page = tab.page
    page.goto(f"{server}map.html")
    chapters = [name for name in documents() if name.startswith("part")]
    for drawn in (page.locator(".book-map svg a"), page.locator(".book-map li > a")):
        expect(drawn.first).to_be_visible()
        assert sorted(link.get_attribute("href") for link in drawn.all()) == [f"{name}.html" for name in chapters]
    first = page.locator(".book-map svg a").first
    first.focus()
    lit = page.locator(".book-map path.from-01").first
    assert lit.evaluate("(path) => getComputedStyle(path).strokeWidth") == "2.5px"
    page.set_viewport_size(PHONE)
    expect(page.locator(".book-map svg")).to_be_hidden()
    expect(page.locator(".book-map li").first).to_be_visible()
    tab.assert_clean()


@pytest.mark.parametrize("width", [1280, 390])
def test_an_explorable_keeps_its_height_while_it_moves(width, server, visit):
    tab = visit(server, viewport={"width": width, "height": 800})
    tab.page.goto(f"{server}part1/04_full_rank_from_n.html")
    for form in tab.page.locator("form.surm-explore").all():
        form.scroll_into_view_if_needed()
        tab.page.wait_for_function(
            "(form) => form.querySelector('.surm-view').style.minHeight", arg=form.element_handle()
        )
        heights = form.evaluate(HEIGHTS)
        assert max(heights) - min(heights) <= 1, heights


def test_on_a_phone_the_controls_stay_in_view(server, visit):
    tab = visit(server, viewport=PHONE)
    tab.page.goto(f"{server}part1/04_full_rank_from_n.html")
    form = tab.page.locator("form.surm-explore").first
    form.evaluate("(form) => scrollTo(0, form.getBoundingClientRect().top + scrollY + 120)")
    header = tab.page.locator(".bd-header-article").bounding_box()
    controls = form.locator(".surm-controls").bounding_box()
    assert controls["y"] >= header["y"] + header["height"] - 1
    assert controls["y"] + controls["height"] < PHONE["height"] / 2, "half of the screen is left for the picture"
