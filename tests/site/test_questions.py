"""A walk: move a slider, guess wrong, read why, finish the check, come back, go on, and find it remembered."""

import re

import pytest
from playwright.sync_api import expect

CHAPTER = "part1/01_low_rank"
SCREENS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 800}}


@pytest.mark.parametrize(("scheme", "screen"), [("http", "desktop"), ("file", "phone")])
def test_a_reader_guesses_checks_and_comes_back(scheme, screen, site, server, visit):
    own = server if scheme == "http" else site.as_uri() + "/"
    tab = visit(own, viewport=SCREENS[screen], has_touch=screen == "phone")
    page = tab.page
    page.goto(f"{own}index.html")
    form = page.locator("form.surm-explore").first
    slider, numbers = form.locator("input[type=range]").first, form.locator(".surm-readout").first
    numbers.scroll_into_view_if_needed()
    shown = [numbers.inner_text()]
    slider.press("ArrowLeft")
    expect(numbers).not_to_have_text(shown[-1], use_inner_text=True)
    shown.append(numbers.inner_text())
    box = slider.bounding_box()
    finger = page.touchscreen.tap if screen == "phone" else page.mouse.click
    finger(box["x"] + 2, box["y"] + box["height"] / 2)
    expect(numbers).not_to_have_text(shown[-1], use_inner_text=True)
    page.locator(f"main a[href^='{CHAPTER}.html']:visible").first.click()

    guess = page.locator(".surm-quiz[data-kind=guess]").first
    wrong, right = guess.locator("details:not(.surm-right)").first, guess.locator("details.surm-right")
    assert not guess.locator("details[open]").count()
    wrong.locator("summary").press("Enter")
    expect(wrong.locator("p")).to_be_visible()
    expect(right.locator("p")).to_be_visible()
    expect(wrong.locator(".surm-mark")).to_have_text("your choice")
    expect(guess.locator("[role=status]")).to_contain_text("Not this one")
    right.locator("summary").press("Enter")  # locked: a fold now, no second choice
    assert guess.locator(".surm-mark").all_inner_texts() == ["your choice", "the answer"]

    quiz = page.locator(".surm-quiz[data-kind=quiz]")
    asked = quiz.locator("fieldset").all()
    for number, question in enumerate(asked):
        question.locator("details:not(.surm-right) summary" if number == 0 else ".surm-right summary").first.click()
    said = f"{len(asked) - 1} of {len(asked)} right."
    expect(quiz.locator(".surm-score")).to_have_text(said)

    page.goto(f"{own}index.html")
    page.locator(".book-way-back a").click()
    expect(page).to_have_url(re.compile(f"{CHAPTER}.html#"))
    expect(wrong.locator(".surm-mark")).to_have_text("your choice")
    expect(wrong.locator("p")).to_be_visible()
    expect(quiz.locator(".surm-score")).to_have_text(said)
    tab.assert_clean()


def test_without_a_script_every_choice_opens_its_reason(site, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.as_uri()}/{CHAPTER}.html")
    for fold in page.locator(".surm-quiz details").all():
        expect(fold.locator("p")).to_be_hidden()
        fold.locator("summary").click()
        expect(fold.locator("p")).to_be_visible()
    context.close()


def test_where_nothing_may_be_stored_questions_still_work(server, visit):
    tab = visit(server)
    tab.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden') } })"
    )
    tab.page.goto(f"{server}{CHAPTER}.html")
    quiz = tab.page.locator(".surm-quiz[data-kind=quiz]")
    for right in quiz.locator(".surm-right summary").all():
        right.click()
    expect(quiz.locator(".surm-score")).to_contain_text("right.")  # (the theme's own scripts do complain)


def test_a_question_answered_while_the_page_loads_is_marked_once(server, visit):
    tab = visit(server)
    early = "document.querySelector('.surm-quiz details:not(.surm-right) summary').click()"
    tab.page.add_init_script(f"document.addEventListener('DOMContentLoaded', () => {early}, true)")
    tab.page.goto(f"{server}{CHAPTER}.html")
    marks = tab.page.locator(".surm-quiz").first.locator(".surm-mark")
    assert marks.all_inner_texts() == ["your choice", "the answer"]
    tab.page.reload()  # remembered by now; the click is another fold
    assert marks.all_inner_texts() == ["your choice", "the answer"]
    tab.assert_clean()
